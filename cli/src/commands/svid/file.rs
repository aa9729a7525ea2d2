//! What lies in a file that an operator points at.

use std::path::Path;

use identity::{SpiffeId, TrustDomain};
use pki::{Certificate, MAX_TOKEN_BYTES, certificates_from_pem, claimed_trust_domain};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::input;

/// The most bytes read: a chain of eight of the largest certificates in PEM.
pub(in crate::commands) const MAX_INPUT_BYTES: usize = 512 * 1024;

/// An SVID of either kind, not verified.
pub(super) enum SvidFile {
    /// A chain, leaf first.
    X509(Vec<Certificate>),
    /// A token in compact serialization.
    Jwt(Zeroizing<String>),
}

impl SvidFile {
    /// Reads a file, or standard input for `-`. What begins with a PEM block is a chain, one word with two dots is a token.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = input::read(path, MAX_INPUT_BYTES)?;
        let text = std::str::from_utf8(&bytes).ok().map(str::trim);
        if let Some(token) = text.filter(|text| text.len() <= MAX_TOKEN_BYTES && !text.contains(char::is_whitespace))
            && token.split('.').count() == 3
        {
            return Ok(Self::Jwt(Zeroizing::new(token.to_owned())));
        }
        let refused = |why: String| {
            Failure::failed(format!("{} holds no SVID", path.display()))
                .because(why)
                .advise("name a PEM file with a chain of certificates, leaf first, or one with a JWT-SVID")
        };
        let chain = certificates_from_pem(&bytes).map_err(|error| refused(error.to_string()))?;
        if chain.is_empty() { Err(refused("it is empty".to_owned())) } else { Ok(Self::X509(chain)) }
    }

    /// The trust domain that it claims to be of. Nothing of it is proven: it says whose bundle to verify it by.
    ///
    /// # Errors
    /// Why it names no SPIFFE ID, and so cannot verify by any bundle.
    pub(super) fn claimed_trust_domain(&self) -> Result<TrustDomain, String> {
        match self {
            Self::X509(chain) => match chain.first().map(Certificate::uri_sans) {
                Some([uri]) => SpiffeId::parse(uri).map(|id| id.trust_domain().clone()).map_err(|error| error.to_string()),
                Some(_) | None => Err("its leaf has not one URI as its name, as an X509-SVID has".to_owned()),
            },
            Self::Jwt(token) => claimed_trust_domain(token).map_err(|error| error.to_string()),
        }
    }
}
