//! Certificates, JWT-SVIDs and bundles as messages.

use identity::TrustDomain;
use pki::{JwksContent, JwtSvid, RevocationList, RevocationSet, TrustBundle};
use proto::v1;

use crate::federation::ForeignBundles;
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

/// An issued JWT-SVID.
pub(crate) fn jwt_svid(svid: &JwtSvid) -> v1::IssueJwtSvidResponse {
    v1::IssueJwtSvidResponse {
        token: svid.token().to_owned(),
        issued_at: Some(std::time::SystemTime::from(svid.issued_at()).into()),
        expires_at: Some(std::time::SystemTime::from(svid.expires_at()).into()),
    }
}

/// What is revoked of a trust domain's certificates.
pub(crate) fn revocation(trust_domain: &TrustDomain, set: &RevocationSet) -> v1::RevocationLists {
    let list = |list: &RevocationList| v1::RevocationList { list: list.der().to_vec(), issuer: list.issuer_der().to_vec() };
    v1::RevocationLists {
        trust_domain: trust_domain.to_string(),
        sequence: set.sequence(),
        lists: set.lists().iter().map(list).collect(),
        complete: set.says_complete(),
        complete_for_leaves: set.says_complete_for_leaves(),
    }
}

/// Bundles of other trust domains, all authorities of each.
pub(crate) fn foreign_bundles(bundles: &ForeignBundles) -> v1::ForeignBundles {
    let bundle = |bundle: &TrustBundle| v1::ForeignBundle {
        trust_domain: bundle.trust_domain().to_string(),
        document: bundle.to_jwks(JwksContent::All).into_bytes(),
    };
    v1::ForeignBundles { bundles: bundles.values().map(|foreign| bundle(foreign)).collect() }
}

/// A trust bundle with its sequence.
pub(crate) fn bundle(bundle: &TrustBundle) -> v1::Bundle {
    v1::Bundle {
        trust_domain: bundle.trust_domain().to_string(),
        x509_authorities: bundle.authorities().iter().map(|authority| authority.der().to_vec()).collect(),
        sequence: bundle.sequence(),
        jwt_authorities: bundle
            .jwt_authorities()
            .iter()
            .map(|authority| v1::JwtAuthority {
                key_id: authority.key_id().to_string(),
                public_key: authority.public_key().spki_der().to_vec(),
            })
            .collect(),
        tainted_keys: bundle.tainted_keys().iter().map(|key| key.to_vec()).collect(),
    }
}
