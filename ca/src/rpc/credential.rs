//! Certificates and bundles as messages.

use pki::TrustBundle;
use proto::v1;

use crate::issuing::IssuedSvid;

/// An issued certificate: leaf first, intermediates, no root.
pub(crate) fn svid(svid: &IssuedSvid) -> v1::X509Svid {
    let IssuedSvid { id, issued } = svid;
    v1::X509Svid {
        spiffe_id: id.to_string(),
        chain: issued.chain.iter().map(|certificate| certificate.der().to_vec()).collect(),
        issued_at: Some(std::time::SystemTime::from(issued.issued_at).into()),
    }
}

/// A trust bundle with its sequence.
pub(crate) fn bundle(bundle: &TrustBundle) -> v1::Bundle {
    v1::Bundle {
        trust_domain: bundle.trust_domain().to_string(),
        x509_authorities: bundle.authorities().iter().map(|authority| authority.der().to_vec()).collect(),
        sequence: bundle.sequence(),
    }
}
