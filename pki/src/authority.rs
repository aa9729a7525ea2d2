//! Certificates of the root and of the issuing CA: X509-SVID section 4, RFC 5280 section 4.2.

use std::time::Duration;

use identity::TrustDomain;
use rcgen::string::PrintableString;
use rcgen::{BasicConstraints, DistinguishedName, DnType, DnValue, IsCa, KeyUsagePurpose, SanType};

use crate::certificate::KeyUsage;
use crate::template::blank_params;
use crate::{Certificate, EncodingError, PublicKey, SerialNumber, Timestamp, Unsigned};

/// How far a CA certificate is back-dated: machines that meet it first may have just booted with a clock that is not set.
const AUTHORITY_BACKDATE: Duration = Duration::from_secs(10 * 60);

/// The longest organizationName (RFC 5280 appendix A.1, ub-organization-name).
const MAX_ORGANIZATION_BYTES: usize = 64;

/// The `serialNumber` attribute of a Name (X.520 section 6.2.9).
pub(crate) const SERIAL_NUMBER_ATTRIBUTE: [u64; 4] = [2, 5, 4, 5];

/// Which of the two CA certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityRole {
    /// Self-signed; signs issuing CAs; no path length limit.
    Root,
    /// Below the root; signs leaves; path length 0.
    Issuer,
}

/// What a CA certificate shall say.
#[derive(Clone, Debug)]
pub struct AuthoritySpec<'a> {
    /// Which it is.
    pub role: AuthorityRole,
    /// Its URI SAN is `spiffe://<trust domain>` (X509-SVID section 4: a signing certificate has no path).
    pub trust_domain: &'a TrustDomain,
    /// Its key.
    pub public_key: &'a PublicKey,
    /// Its life from now on, in whole seconds; cut to the issuer's end.
    pub lifetime: Duration,
    /// Its serial number, also an attribute of the Subject, which so is unique (many authorities of one Subject make path building guess).
    pub serial: SerialNumber,
    /// The time of issuance.
    pub now: Timestamp,
}

/// Why no CA certificate can be prepared.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// An issuing CA needs an issuer and a root has none.
    #[error("a root has no issuer and an issuing CA has one; the role asked for is {role:?}")]
    Role {
        /// The role asked for.
        role: AuthorityRole,
    },
    /// The issuer is not valid now.
    #[error("the issuer \"{issuer}\" is valid from {not_before} to {not_after}; now is {now}")]
    IssuerNotValid {
        /// The issuer's subject.
        issuer: String,
        /// Its first second.
        not_before: Timestamp,
        /// Its last second.
        not_after: Timestamp,
        /// The time of issuance.
        now: Timestamp,
    },
    /// The encoder failed.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
}

/// Encodes a CA certificate: under `issuer`, or self-issued when there is none (role [`AuthorityRole::Root`]).
///
/// Validity: from 10 min before `now`, not before the issuer's beginning, to `now` + lifetime - 1 s, not after the issuer's end.
///
/// # Errors
/// [`MintError`]: role and issuer do not fit, the issuer is not valid now, or the encoder fails.
pub fn prepare_authority(spec: &AuthoritySpec<'_>, issuer: Option<&Certificate>) -> Result<Unsigned, MintError> {
    if matches!((spec.role, issuer), (AuthorityRole::Root, Some(_)) | (AuthorityRole::Issuer, None)) {
        return Err(MintError::Role { role: spec.role });
    }
    let mut not_before = spec.now.minus(AUTHORITY_BACKDATE);
    let mut not_after = spec.now.plus(spec.lifetime).minus(Duration::from_secs(1));
    if let Some(issuer) = issuer {
        if spec.now < issuer.not_before() || issuer.not_after() <= spec.now {
            return Err(MintError::IssuerNotValid {
                issuer: issuer.subject(),
                not_before: issuer.not_before(),
                not_after: issuer.not_after(),
                now: spec.now,
            });
        }
        not_before = not_before.max(issuer.not_before());
        not_after = not_after.min(issuer.not_after());
    }
    let mut params = blank_params(&spec.serial, not_before, not_after, spec.public_key)?;
    params.distinguished_name = subject(spec)?;
    params.subject_alt_names =
        vec![SanType::URI(format!("spiffe://{}", spec.trust_domain).as_str().try_into().map_err(EncodingError::new)?)];
    params.is_ca = IsCa::Ca(match spec.role {
        AuthorityRole::Root => BasicConstraints::Unconstrained,
        AuthorityRole::Issuer => BasicConstraints::Constrained(0),
    });
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(Unsigned::encode(&params, spec.public_key, issuer)?)
}

fn subject(spec: &AuthoritySpec<'_>) -> Result<DistinguishedName, EncodingError> {
    let mut name = DistinguishedName::new();
    // A trust domain may be longer than an organizationName; its whole text is in the SAN.
    if spec.trust_domain.as_str().len() <= MAX_ORGANIZATION_BYTES {
        name.push(DnType::OrganizationName, DnValue::Utf8String(spec.trust_domain.to_string()));
    }
    let common_name = match spec.role {
        AuthorityRole::Root => "Signet root",
        AuthorityRole::Issuer => "Signet issuing CA",
    };
    name.push(DnType::CommonName, DnValue::Utf8String(common_name.to_owned()));
    let serial = PrintableString::try_from(spec.serial.to_string()).map_err(EncodingError::new)?;
    name.push(DnType::CustomDnType(SERIAL_NUMBER_ATTRIBUTE.to_vec()), DnValue::PrintableString(serial));
    Ok(name)
}

/// What a certificate allows its key to do as a CA. `cA` itself is [`Certificate::is_ca`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaConstraints {
    /// keyUsage is there and has keyCertSign. Without the extension this is `false`: a CA certificate must have it
    /// (RFC 5280 section 4.2.1.3), and what is missing grants nothing.
    pub key_cert_sign: bool,
    /// How many intermediates may stand between this certificate and a leaf; `None` for any number.
    pub path_len: Option<u32>,
}

impl CaConstraints {
    /// What the certificate says.
    #[must_use]
    pub fn of(certificate: &Certificate) -> Self {
        Self {
            key_cert_sign: certificate.key_usage().is_some_and(KeyUsage::key_cert_sign),
            path_len: certificate.basic_constraints().and_then(|constraints| constraints.path_length),
        }
    }
}

#[cfg(test)]
mod tests;
