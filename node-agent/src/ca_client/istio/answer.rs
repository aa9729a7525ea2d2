//! What a CA answered, checked. The CA was verified by TLS; that gives it no say about which roots this node trusts.

use std::sync::Arc;

use identity::TrustDomain;
use pki::{Certificate, PrivateKey, Timestamp, TrustBundle, TrustedRoots, X509Svid, certificates_from_pem};
use proto::istio;

use super::super::wire::AnswerFault;

/// The most strings of an answer: leaf, intermediates, roots.
const MAX_ELEMENTS: usize = 16;

/// An answer whose roots are ones that this node was told to trust. Whom its chain names is not checked yet.
#[derive(Debug)]
pub struct IstioAnswer {
    /// Leaf first, without the roots.
    chain: Vec<Certificate>,
    roots: Vec<Certificate>,
}

impl IstioAnswer {
    /// Reads an answer: the leaf, then the chain, and the trust anchors in the last element.
    ///
    /// # Errors
    /// [`AnswerFault`]; [`AnswerFault::ForeignRoot`] when it brings an authority that `trusted` does not vouch for.
    pub fn parse(answer: &istio::IstioCertificateResponse, trusted: &TrustedRoots, now: Timestamp) -> Result<Self, AnswerFault> {
        let istio::IstioCertificateResponse { cert_chain } = answer;
        if cert_chain.len() > MAX_ELEMENTS {
            return Err(AnswerFault::Elements { found: cert_chain.len() });
        }
        let [leaf, intermediates @ .., roots] = cert_chain.as_slice() else {
            return Err(AnswerFault::Elements { found: cert_chain.len() });
        };
        let mut chain = certificates_from_pem(leaf.as_bytes())?;
        if chain.len() != 1 {
            return Err(AnswerFault::Missing("single leaf certificate in its first element"));
        }
        for element in intermediates {
            chain.extend(certificates_from_pem(element.as_bytes())?);
        }
        let mut anchors: Vec<Certificate> = Vec::new();
        for root in certificates_from_pem(roots.as_bytes())? {
            if !trusted.vouch_for(&root, now) {
                return Err(AnswerFault::ForeignRoot { subject: root.subject() });
            }
            if !anchors.contains(&root) {
                anchors.push(root);
            }
        }
        if anchors.is_empty() {
            return Err(AnswerFault::Missing("root in its last element"));
        }
        Ok(Self { chain, roots: anchors })
    }

    /// The trust bundle that it brings for `trust_domain`, numbered by the caller.
    ///
    /// # Errors
    /// [`AnswerFault::Bundle`] when an authority in it is not fit for that trust domain.
    pub fn bundle(&self, trust_domain: &TrustDomain, sequence: u64) -> Result<TrustBundle, AnswerFault> {
        Ok(TrustBundle::new(trust_domain.clone(), self.roots.clone(), sequence)?)
    }

    /// The chain in DER, leaf first.
    pub(super) fn chain_der(&self) -> Vec<Vec<u8>> {
        self.chain.iter().map(|certificate| certificate.der().to_vec()).collect()
    }

    /// The SVID, when it is for `key`, names a workload of `trust_domain`, and is valid now under the roots that came with it.
    ///
    /// # Errors
    /// [`AnswerFault`] naming what does not agree.
    pub fn into_svid(
        self,
        trust_domain: &TrustDomain,
        key: PrivateKey,
        now: Timestamp,
    ) -> Result<(Arc<X509Svid>, Arc<TrustBundle>), AnswerFault> {
        let bundle = self.bundle(trust_domain, 0)?;
        let svid = X509Svid::new(self.chain, key, now)?;
        if svid.id().trust_domain() != trust_domain || svid.id().is_reserved() {
            return Err(AnswerFault::OtherIdentity { found: svid.id().clone(), asked: trust_domain.id() });
        }
        svid.verify(&bundle, now)?;
        Ok((Arc::new(svid), Arc::new(bundle)))
    }
}
