//! Lints for every certificate, and for every one that has an issuer other than itself.

use std::collections::HashSet;

use x509_parser::prelude::X509Version;

use super::Lint;
use super::input::Input;
use crate::PublicKey;
use crate::unsigned::signature_algorithm_der;

/// 2050-01-01T00:00:00Z, from which on validity is said in GeneralizedTime.
const YEAR_2050: i64 = 2_524_608_000;

/// Longest serial number, in octets of the INTEGER's content.
const MAX_SERIAL_BYTES: usize = 20;

/// Octets of a serial that hold the 64 bits of randomness which the citation demands, and the replica's.
const LEAST_SERIAL_BYTES: usize = 9;

pub(super) const LINTS: &[Lint] = &[
    Lint {
        name: "version_3",
        description: "the version is 3",
        citation: "RFC 5280 section 4.1.2.1",
        holds: |input| input.certificate.version() == X509Version::V3,
    },
    Lint {
        name: "serial_positive",
        description: "the serial number is above zero",
        citation: "RFC 5280 section 4.1.2.2",
        holds: |input| {
            let serial = input.certificate.tbs_certificate.raw_serial();
            serial.first().is_some_and(|first| *first < 0x80) && serial.iter().any(|byte| *byte != 0)
        },
    },
    Lint {
        name: "serial_not_too_long",
        description: "the serial number has at most 20 octets",
        citation: "RFC 5280 section 4.1.2.2",
        holds: |input| input.certificate.tbs_certificate.raw_serial().len() <= MAX_SERIAL_BYTES,
    },
    Lint {
        name: "serial_not_too_short",
        description: "the serial number has room for a replica byte and 64 random bits",
        citation: "CA/Browser Forum Baseline Requirements section 7.1",
        holds: |input| input.certificate.tbs_certificate.raw_serial().len() >= LEAST_SERIAL_BYTES,
    },
    Lint {
        name: "signature_algorithms_agree",
        description: "the signature algorithm outside is the one inside the to-be-signed bytes",
        citation: "RFC 5280 section 4.1.1.2",
        holds: |input| input.certificate.signature_algorithm == input.certificate.tbs_certificate.signature,
    },
    Lint {
        name: "signature_algorithm_of_issuer_key",
        description: "the signature algorithm, with its parameters, is the one that the issuer's key signs with",
        citation: "RFC 5758 section 3.2, RFC 4055 section 5, RFC 8410 section 3",
        holds: signature_algorithm_of_issuer_key,
    },
    Lint {
        name: "validity_in_order",
        description: "notBefore is before notAfter",
        citation: "RFC 5280 section 4.1.2.5",
        holds: |input| input.certificate.validity().not_before < input.certificate.validity().not_after,
    },
    Lint {
        name: "validity_time_form",
        description: "dates through 2049 are UTCTime, later ones GeneralizedTime",
        citation: "RFC 5280 section 4.1.2.5",
        holds: |input| {
            let validity = input.certificate.validity();
            let fits = |time: x509_parser::time::ASN1Time| time.is_generalizedtime() == (time.timestamp() >= YEAR_2050);
            fits(validity.not_before) && fits(validity.not_after)
        },
    },
    Lint {
        name: "no_unique_identifiers",
        description: "issuerUniqueID and subjectUniqueID are absent",
        citation: "RFC 5280 section 4.1.2.8",
        holds: |input| {
            input.certificate.tbs_certificate.issuer_uid.is_none() && input.certificate.tbs_certificate.subject_uid.is_none()
        },
    },
    Lint {
        name: "extensions_unique",
        description: "no extension stands twice",
        citation: "RFC 5280 section 4.2",
        holds: |input| {
            let mut seen = HashSet::new();
            input.certificate.extensions().iter().all(|extension| seen.insert(extension.oid.as_bytes()))
        },
    },
    Lint {
        name: "public_key_allowed",
        description: "the key is P-256, P-384, Ed25519, or RSA of 2048 to 4096 bits with exponent 65537",
        citation: "CA/Browser Forum BR section 6.1.1.3, narrowed",
        holds: |input| PublicKey::from_spki_der(input.certificate.public_key().raw).is_ok(),
    },
    Lint {
        name: "subject_key_identifier_present",
        description: "subjectKeyIdentifier is present",
        citation: "RFC 5280 section 4.2.1.2",
        holds: |input| input.subject_key_identifier().is_some(),
    },
    Lint {
        name: "subject_key_identifier_not_critical",
        description: "subjectKeyIdentifier is not critical",
        citation: "RFC 5280 section 4.2.1.2",
        holds: |input| input.subject_key_identifier().is_none_or(|(critical, _)| !critical),
    },
    Lint {
        name: "subject_key_identifier_length",
        description: "subjectKeyIdentifier has 8 to 32 octets",
        citation: "RFC 7093 section 2",
        holds: |input| input.subject_key_identifier().is_none_or(|(_, identifier)| (8..=32).contains(&identifier.len())),
    },
    Lint {
        name: "authority_key_identifier_not_critical",
        description: "authorityKeyIdentifier is not critical",
        citation: "RFC 5280 section 4.2.1.1",
        holds: |input| input.authority_key_identifier().is_none_or(|(critical, _)| !critical),
    },
    Lint {
        name: "authority_key_identifier_by_key_only",
        description: "authorityKeyIdentifier names the key and not the issuer's name and serial",
        citation: "RFC 5280 section 4.2.1.1",
        holds: |input| {
            input
                .authority_key_identifier()
                .is_none_or(|(_, aki)| aki.authority_cert_issuer.is_none() && aki.authority_cert_serial.is_none())
        },
    },
    Lint {
        name: "key_usage_present",
        description: "keyUsage is present",
        citation: "X509-SVID section 4.3",
        holds: |input| input.key_usage().is_some(),
    },
    Lint {
        name: "key_usage_critical",
        description: "keyUsage is critical",
        citation: "X509-SVID section 4.3",
        holds: |input| input.key_usage().is_none_or(|(critical, _)| critical),
    },
    Lint {
        name: "basic_constraints_present",
        description: "basicConstraints is present, also where cA is false",
        citation: "RFC 5280 section 4.2.1.9; some SPIFFE clients refuse a leaf without it",
        holds: |input| input.basic_constraints().is_some(),
    },
    Lint {
        name: "basic_constraints_critical",
        description: "basicConstraints is critical",
        citation: "RFC 5280 section 4.2.1.9",
        holds: |input| input.basic_constraints().is_none_or(|(critical, _)| critical),
    },
    Lint {
        name: "subject_alternative_name_present",
        description: "subjectAltName is present",
        citation: "X509-SVID section 2",
        holds: |input| input.subject_alternative_names().is_some(),
    },
    Lint {
        name: "one_uri_name",
        description: "exactly one URI is among the subject alternative names",
        citation: "X509-SVID section 2",
        holds: |input| input.subject_alternative_names().is_none() || input.uris().len() == 1,
    },
];

/// For every certificate that another one signs.
pub(super) const ISSUED_LINTS: &[Lint] = &[
    Lint {
        name: "issuer_name_is_issuers_subject",
        description: "the issuer's name is the subject of its certificate, byte for byte",
        citation: "RFC 5280 section 4.1.2.4",
        holds: |input| input.issuer.is_some_and(|issuer| issuer.subject_der() == input.certificate.issuer().as_raw()),
    },
    Lint {
        name: "authority_key_identifier_present",
        description: "authorityKeyIdentifier is present, with a key identifier",
        citation: "RFC 5280 section 4.2.1.1",
        holds: |input| input.authority_key_identifier().is_some_and(|(_, aki)| aki.key_identifier.is_some()),
    },
    Lint {
        name: "authority_key_identifier_is_issuers",
        description: "the authority's key identifier is the subject's of the issuer, byte for byte",
        citation: "RFC 5280 section 4.2.1.1",
        holds: |input| match input.authority_key_identifier().and_then(|(_, aki)| aki.key_identifier.as_ref()) {
            Some(identifier) => input.issuer_subject_key_identifier() == Some(identifier.0),
            None => true,
        },
    },
    Lint {
        name: "begins_within_issuer",
        description: "notBefore is not before the issuer's",
        citation: "RFC 5280 section 6.1.3 (a)(2): no path is valid outside its issuer's dates",
        holds: |input| {
            let begin = u64::try_from(input.certificate.validity().not_before.timestamp());
            input.issuer.is_some_and(|issuer| begin.is_ok_and(|begin| issuer.not_before().unix_seconds() <= begin))
        },
    },
    Lint {
        name: "ends_within_issuer",
        description: "notAfter is not after the issuer's",
        citation: "RFC 5280 section 6.1.3 (a)(2): no path is valid outside its issuer's dates",
        holds: |input| {
            let end = u64::try_from(input.certificate.validity().not_after.timestamp());
            input.issuer.is_some_and(|issuer| end.is_ok_and(|end| end <= issuer.not_after().unix_seconds()))
        },
    },
    Lint {
        name: "key_is_not_the_issuers",
        description: "the subject's key is not the issuer's",
        citation: "RFC 5280 section 6.1: one key, one subject",
        holds: |input| input.issuer.is_some_and(|issuer| issuer.public_key().spki_der() != input.certificate.public_key().raw),
    },
];

fn signature_algorithm_of_issuer_key(input: &Input<'_>) -> bool {
    use x509_parser::prelude::FromDer;
    use x509_parser::x509::AlgorithmIdentifier;

    let algorithm = match input.issuer {
        Some(issuer) => issuer.public_key().algorithm(),
        None => match PublicKey::from_spki_der(input.certificate.public_key().raw) {
            Ok(key) => key.algorithm(),
            // A root's own key of another kind is `public_key_allowed`'s to tell.
            Err(_) => return true,
        },
    };
    AlgorithmIdentifier::from_der(&signature_algorithm_der(algorithm))
        .is_ok_and(|(_, expected)| expected == input.certificate.tbs_certificate.signature)
}
