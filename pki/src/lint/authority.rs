//! Lints for the certificates of roots and issuing CAs: X509-SVID section 4, RFC 5280 section 4.2.

use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE, OID_X509_EXT_SUBJECT_ALT_NAME,
    OID_X509_EXT_SUBJECT_KEY_IDENTIFIER, Oid,
};

use super::Lint;
use super::input::{Input, Names};
use crate::SerialNumber;
use crate::authority::SERIAL_NUMBER_ATTRIBUTE;

/// The extensions that a CA certificate made here may have. An extended key usage or name constraints would bind all below it,
/// in some verifiers.
const EXTENSIONS: [Oid<'static>; 5] = [
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER,
    OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_SUBJECT_ALT_NAME,
    OID_X509_EXT_SUBJECT_KEY_IDENTIFIER,
];

pub(super) const LINTS: &[Lint] = &[
    Lint {
        name: "authority_known_extensions_only",
        description: "no extension besides those of the template",
        citation: "RFC 5280 sections 4.2.1.10 and 4.2.1.12; SPIFFE X509-SVID section 4.2",
        holds: |input| input.certificate.extensions().iter().all(|extension| EXTENSIONS.contains(&extension.oid)),
    },
    Lint {
        name: "authority_is_ca",
        description: "cA is true",
        citation: "X509-SVID section 4.1",
        holds: |input| input.basic_constraints().is_none_or(|(_, basic)| basic.ca),
    },
    Lint {
        name: "authority_cert_sign",
        description: "keyUsage has keyCertSign",
        citation: "X509-SVID section 4.3",
        holds: |input| input.key_usage().is_none_or(|(_, usage)| usage.key_cert_sign()),
    },
    Lint {
        name: "authority_crl_sign",
        description: "keyUsage has cRLSign, so that the CA can revoke",
        citation: "RFC 5280 section 4.2.1.3",
        holds: |input| input.key_usage().is_none_or(|(_, usage)| usage.crl_sign()),
    },
    Lint {
        name: "authority_no_other_usage",
        description: "keyUsage has nothing besides keyCertSign and cRLSign: a signing certificate never authenticates",
        citation: "X509-SVID section 4.3",
        holds: |input| {
            input.key_usage().is_none_or(|(_, usage)| {
                !usage.digital_signature()
                    && !usage.non_repudiation()
                    && !usage.key_encipherment()
                    && !usage.data_encipherment()
                    && !usage.key_agreement()
                    && !usage.encipher_only()
                    && !usage.decipher_only()
            })
        },
    },
    Lint {
        name: "authority_id_is_trust_domain",
        description: "the URI is the trust domain's SPIFFE ID, without a path",
        citation: "X509-SVID section 4",
        holds: |input| match input.names {
            Names::Authority(trust_domain) => {
                let expected = format!("spiffe://{trust_domain}");
                input.uris().iter().all(|uri| *uri == expected)
            }
            Names::Leaf(_) => false,
        },
    },
    Lint {
        name: "authority_names_only_itself",
        description: "subjectAltName holds nothing besides the URI",
        citation: "X509-SVID section 4",
        holds: |input| input.sans().len() == input.uris().len(),
    },
    Lint {
        name: "authority_subject_unique",
        description: "the subject holds the serial number, so that no two CAs share a name",
        citation: "RFC 5280 section 4.1.2.6",
        holds: subject_holds_serial,
    },
];

pub(super) const ROOT_LINTS: &[Lint] = &[
    Lint {
        name: "root_no_path_length",
        description: "a root has no pathLenConstraint",
        citation: "RFC 5280 section 4.2.1.9",
        holds: |input| input.basic_constraints().is_none_or(|(_, basic)| basic.path_len_constraint.is_none()),
    },
    Lint {
        name: "root_names_itself",
        description: "a root's issuer is its subject, byte for byte",
        citation: "RFC 5280 section 3.2",
        holds: |input| input.certificate.issuer().as_raw() == input.certificate.subject().as_raw(),
    },
    Lint {
        name: "root_key_identifiers_agree",
        description: "a root's authorityKeyIdentifier, where present, is its subjectKeyIdentifier",
        citation: "RFC 5280 section 4.2.1.1",
        holds: |input| match input.authority_key_identifier().and_then(|(_, aki)| aki.key_identifier.as_ref()) {
            Some(identifier) => input.subject_key_identifier().is_none_or(|(_, own)| own == identifier.0),
            None => true,
        },
    },
];

pub(super) const ISSUER_LINTS: &[Lint] = &[
    Lint {
        name: "issuer_path_length_zero",
        description: "an issuing CA has pathLenConstraint 0",
        citation: "RFC 5280 section 4.2.1.9",
        holds: |input| {
            // The constraint means something only where cA is true, which another lint demands.
            input.basic_constraints().is_none_or(|(_, basic)| !basic.ca || basic.path_len_constraint == Some(0))
        },
    },
    Lint {
        name: "issuer_not_self_issued",
        description: "an issuing CA's subject is not its issuer's",
        citation: "RFC 5280 section 3.2",
        holds: |input| input.certificate.issuer().as_raw() != input.certificate.subject().as_raw(),
    },
];

fn subject_holds_serial(input: &Input<'_>) -> bool {
    let (Ok(attribute), Ok(serial)) =
        (Oid::from(&SERIAL_NUMBER_ATTRIBUTE), SerialNumber::from_bytes(input.certificate.tbs_certificate.raw_serial()))
    else {
        return false;
    };
    let serial = serial.to_string();
    input.certificate.subject().iter_by_oid(&attribute).any(|value| value.as_str().is_ok_and(|text| text == serial))
}
