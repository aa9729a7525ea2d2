//! What the server answers, read: bounded, without belief. Pure.

use std::time::Duration;

use pki::{Certificate, CertificateError, certificates_from_pem};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::Reasons;

/// The largest answer that is read, in bytes. A chain of eight certificates has a sixth of it.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// The most certificates of an answer: what was signed, and what stands above it.
pub const MAX_CERTIFICATES: usize = 16;
/// The longest token, in bytes: batch tokens are long.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Why an answer is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is no JSON of the form that the API documents. What it holds is not shown: it may be secret.
    #[error("it is no JSON of the documented form (line {line}, column {column})")]
    Form {
        /// Where reading ended, from 1.
        line: usize,
        /// Where reading ended, from 1.
        column: usize,
    },
    /// A part that must be there is missing or empty.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A login that wants a second proof.
    #[error("the login wants a second factor, which no service can give: let this role log in without one")]
    SecondFactor,
    /// What it gives as a token could not be sent back.
    #[error("its token is no token: {found} bytes, or characters that no token has")]
    Token {
        /// How long it is.
        found: usize,
    },
    /// A certificate does not parse.
    #[error("a certificate in it is refused: {0}")]
    Certificate(#[from] CertificateError),
    /// `certificate` or `issuing_ca` holds none, or more than one.
    #[error("its {what} holds {found} certificates where one belongs")]
    Count {
        /// Which part.
        what: &'static str,
        /// How many.
        found: usize,
    },
    /// More certificates than any chain has.
    #[error("it brings {found} certificates, at most {MAX_CERTIFICATES} are taken")]
    TooMany {
        /// How many.
        found: usize,
    },
}

/// A token, and for how long it is good.
pub struct Login {
    /// Goes into `X-Vault-Token` and nowhere else.
    pub token: Zeroizing<String>,
    /// From now on; `None`: it has no end.
    pub life: Option<Duration>,
    /// Whether it may be renewed.
    pub renewable: bool,
}

/// A certificate that was signed, and what the server says stands above it. None of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCertificate {
    /// What was signed.
    pub certificate: Certificate,
    /// Its issuer first; roots among them or not.
    pub above: Vec<Certificate>,
}

impl SignedCertificate {
    /// The certificate and its issuers up to the root, without it.
    #[must_use]
    pub fn chain(&self) -> Vec<Certificate> {
        let below_roots = self.above.iter().filter(|issuer| !is_root(issuer));
        std::iter::once(&self.certificate).chain(below_roots).cloned().collect()
    }

    /// The roots that came along: those that are signed by themselves.
    #[must_use]
    pub fn roots(&self) -> Vec<Certificate> {
        self.above.iter().filter(|issuer| is_root(issuer)).cloned().collect()
    }

    /// Reads the answer of `sign` and `sign-intermediate` in the format `pem`. What stands twice in it is taken once.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn parse(body: &[u8]) -> Result<Self, AnswerError> {
        let Envelope { data, .. } = read::<Envelope<SignData>>(body)?;
        let SignData { certificate, issuing_ca, ca_chain } = data.ok_or(AnswerError::Missing("data"))?;
        let certificate = one("certificate", &certificate.ok_or(AnswerError::Missing("certificate"))?)?;
        let ca_chain = ca_chain.unwrap_or_default();
        if ca_chain.len() > MAX_CERTIFICATES {
            return Err(AnswerError::TooMany { found: ca_chain.len() });
        }
        let mut above: Vec<Certificate> = Vec::new();
        // The issuer stands first in the chain, where the engine knows one; an imported CA may come without.
        if let Some(issuer) = issuing_ca.filter(|pem| !pem.is_empty()) {
            above.push(one("issuing_ca", &issuer)?);
        }
        for pem in &ca_chain {
            for issuer in certificates_from_pem(pem.as_bytes())? {
                if issuer != certificate && !above.contains(&issuer) {
                    above.push(issuer);
                }
                if above.len() >= MAX_CERTIFICATES {
                    return Err(AnswerError::TooMany { found: above.len() + 1 });
                }
            }
        }
        if above.is_empty() {
            return Err(AnswerError::Missing("issuer: both ca_chain and issuing_ca are empty"));
        }
        Ok(Self { certificate, above })
    }
}

/// Reads the answer of `issuer/<name>/json`: the roots that the issuer and what stands above it lead to, each once.
///
/// # Errors
/// [`AnswerError`]; [`AnswerError::Missing`] where the server knows no root above its issuer.
pub fn roots_of_issuer(body: &[u8]) -> Result<Vec<Certificate>, AnswerError> {
    let Envelope { data, .. } = read::<Envelope<SignData>>(body)?;
    let SignData { certificate, issuing_ca: _, ca_chain } = data.ok_or(AnswerError::Missing("data"))?;
    let ca_chain = ca_chain.unwrap_or_default();
    if ca_chain.len() > MAX_CERTIFICATES {
        return Err(AnswerError::TooMany { found: ca_chain.len() });
    }
    let mut roots: Vec<Certificate> = Vec::new();
    for pem in certificate.iter().chain(&ca_chain) {
        for found in certificates_from_pem(pem.as_bytes())? {
            if is_root(&found) && !roots.contains(&found) {
                roots.push(found);
            }
        }
        if roots.len() > MAX_CERTIFICATES {
            return Err(AnswerError::TooMany { found: roots.len() });
        }
    }
    if roots.is_empty() {
        Err(AnswerError::Missing("root: import the certificates above the issuer into the engine"))
    } else {
        Ok(roots)
    }
}

impl Login {
    /// Reads the answer of a login or of `renew-self`.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn parse(body: &[u8]) -> Result<Self, AnswerError> {
        let Envelope { auth, .. } = read::<Envelope<serde::de::IgnoredAny>>(body)?;
        let Auth { client_token, lease_duration, renewable, mfa_requirement } = auth.ok_or(AnswerError::Missing("auth"))?;
        let token = Zeroizing::new(client_token.unwrap_or_default());
        if token.is_empty() && mfa_requirement.is_some() {
            return Err(AnswerError::SecondFactor);
        }
        if !is_token(&token) {
            return Err(AnswerError::Token { found: token.len() });
        }
        let life = lease_duration.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        Ok(Self { token, life, renewable: renewable.unwrap_or(false) })
    }
}

/// Reads the answer of `lookup-self`: for how long the token is good, `None` for ever, and whether it may be renewed.
///
/// # Errors
/// [`AnswerError`].
pub fn lookup(body: &[u8]) -> Result<(Option<Duration>, bool), AnswerError> {
    let Envelope { data, .. } = read::<Envelope<LookupData>>(body)?;
    let LookupData { ttl, renewable } = data.ok_or(AnswerError::Missing("data"))?;
    let life = ttl.filter(|seconds| *seconds > 0).map(Duration::from_secs);
    Ok((life, renewable.unwrap_or(false)))
}

/// The server's own words in an answer that is none: few, short and printable. Empty when it gives none.
#[must_use]
pub fn reasons(body: &[u8]) -> Reasons {
    let errors = read::<Refusal>(body).ok().and_then(|refusal| refusal.errors).unwrap_or_default();
    Reasons::of(errors.iter().map(String::as_str))
}

/// Whether a text can be sent as a token.
pub(crate) fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_root(certificate: &Certificate) -> bool {
    certificate.subject_der() == certificate.issuer_der() && certificate.verify_signed_by(certificate.public_key()).is_ok()
}

fn one(what: &'static str, pem: &str) -> Result<Certificate, AnswerError> {
    let mut certificates = certificates_from_pem(pem.as_bytes())?;
    match (certificates.pop(), certificates.len()) {
        (Some(certificate), 0) => Ok(certificate),
        (None, _) => Err(AnswerError::Count { what, found: 0 }),
        (Some(_), more) => Err(AnswerError::Count { what, found: more + 1 }),
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, AnswerError> {
    serde_json::from_slice(body).map_err(|error| AnswerError::Form { line: error.line(), column: error.column() })
}

/// The frame of every answer. Members that are not read are many, and new ones come.
#[derive(Deserialize)]
struct Envelope<T> {
    data: Option<T>,
    auth: Option<Auth>,
}

#[derive(Deserialize)]
struct Auth {
    client_token: Option<String>,
    /// Seconds.
    lease_duration: Option<u64>,
    renewable: Option<bool>,
    mfa_requirement: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct LookupData {
    /// Seconds.
    ttl: Option<u64>,
    renewable: Option<bool>,
}

#[derive(Deserialize)]
struct SignData {
    certificate: Option<String>,
    issuing_ca: Option<String>,
    ca_chain: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Refusal {
    errors: Option<Vec<String>>,
}
