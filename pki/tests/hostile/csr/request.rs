//! A request from small pieces (RFC 2986 section 4), each of which can be replaced.

use crate::der;
use crate::keys::TestKey;

/// The pieces; start from a good one and spoil it.
#[derive(Clone)]
pub(super) struct Pieces {
    pub(super) version: Vec<u8>,
    pub(super) subject: Vec<u8>,
    pub(super) spki: Vec<u8>,
    /// The whole `[0]`; empty when it is left out.
    pub(super) attributes: Vec<u8>,
    /// What stands behind the attributes.
    pub(super) info_tail: Vec<u8>,
    /// The AlgorithmIdentifier.
    pub(super) algorithm: Vec<u8>,
    /// What stands behind the signature.
    pub(super) tail: Vec<u8>,
}

impl Pieces {
    /// Version 1, empty subject, the key, no attributes.
    pub(super) fn of(key: &TestKey) -> Self {
        Self {
            version: der::small(0),
            subject: der::sequence(&[]),
            spki: key.spki.clone(),
            attributes: der::of(0xa0, &[]),
            info_tail: Vec::new(),
            algorithm: key.algorithm.clone(),
            tail: Vec::new(),
        }
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// With these attributes.
    pub(super) fn asking(self, attributes: &[Vec<u8>]) -> Self {
        self.with(|pieces| pieces.attributes = der::of(0xa0, attributes))
    }

    /// The signed part.
    pub(super) fn info(&self) -> Vec<u8> {
        let parts = [&self.version, &self.subject, &self.spki, &self.attributes, &self.info_tail];
        der::sequence(&parts.map(Clone::clone))
    }

    pub(super) fn signed(&self, key: &TestKey) -> Vec<u8> {
        self.with_signature(&der::bits(&key.sign(&self.info())))
    }

    /// With any BIT STRING, or any other value, as the signature.
    pub(super) fn with_signature(&self, signature: &[u8]) -> Vec<u8> {
        der::sequence(&[self.info(), self.algorithm.clone(), signature.to_vec(), self.tail.clone()])
    }
}

/// The key that all requests are made with where the key is not the point.
pub(super) fn requester() -> TestKey {
    TestKey::ed25519("requester")
}

/// A request of [`requester`] with a change, well signed.
pub(super) fn changed(change: impl FnOnce(&mut Pieces)) -> Vec<u8> {
    let key = requester();
    Pieces::of(&key).with(change).signed(&key)
}

/// A request of [`requester`] with these attributes.
pub(super) fn asking(attributes: &[Vec<u8>]) -> Vec<u8> {
    let key = requester();
    Pieces::of(&key).asking(attributes).signed(&key)
}

/// `extensionRequest` (RFC 2985 section 5.4.2) with these extensions.
pub(super) fn extension_request(extensions: &[Vec<u8>]) -> Vec<u8> {
    attribute("1.2.840.113549.1.9.14", &[der::sequence(extensions)])
}

pub(super) fn attribute(oid: &str, values: &[Vec<u8>]) -> Vec<u8> {
    der::sequence(&[der::oid(oid), der::set(values)])
}

/// A request of [`requester`] that asks for these extensions.
pub(super) fn extensions(extensions: &[Vec<u8>]) -> Vec<u8> {
    asking(&[extension_request(extensions)])
}

/// A critical or ordinary extension around an encoded value.
pub(super) fn extension(oid: &str, critical: bool, content: &[u8]) -> Vec<u8> {
    let critical = if critical { der::boolean(true) } else { Vec::new() };
    der::sequence(&[der::oid(oid), critical, der::octets(content)])
}

/// subjectAltName with these names.
pub(super) fn names(names: &[Vec<u8>]) -> Vec<u8> {
    extension("2.5.29.17", false, &der::sequence(names))
}

/// A uniformResourceIdentifier.
pub(super) fn uri(text: &str) -> Vec<u8> {
    der::value(0x86, text.as_bytes())
}
