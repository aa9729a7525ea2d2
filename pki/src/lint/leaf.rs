//! Lints for leaves: X509-SVID sections 2 to 5, and what Signet promises beyond them.

use std::collections::HashSet;

use identity::{DnsName, SpiffeId};
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_KEY_USAGE, OID_X509_EXT_SUBJECT_ALT_NAME, OID_X509_EXT_SUBJECT_KEY_IDENTIFIER, Oid,
};

use super::Lint;
use super::input::{Input, Names};
use crate::profile::{LEAF_BACKDATE, MOST_TTL};

/// The extensions that a leaf may have. One that nobody asked for is a fault, even a harmless one.
const EXTENSIONS: [Oid<'static>; 6] = [
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER,
    OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_SUBJECT_ALT_NAME,
    OID_X509_EXT_SUBJECT_KEY_IDENTIFIER,
];

pub(super) const LINTS: &[Lint] = &[
    Lint {
        name: "leaf_known_extensions_only",
        description: "no extension besides those of the profile",
        citation: "the leaf profile (pki::template)",
        holds: |input| input.certificate.extensions().iter().all(|extension| EXTENSIONS.contains(&extension.oid)),
    },
    Lint {
        name: "leaf_subject_empty",
        description: "the subject is empty: the identity stands in the SAN and nowhere else",
        citation: "the leaf profile (pki::template)",
        holds: |input| input.certificate.subject().iter().next().is_none(),
    },
    Lint {
        name: "leaf_san_critical",
        description: "subjectAltName is critical where the subject is empty",
        citation: "RFC 5280 section 4.1.2.6",
        holds: |input| {
            input.certificate.subject().iter().next().is_some()
                || input.subject_alternative_names().is_none_or(|(critical, _)| critical)
        },
    },
    Lint {
        name: "leaf_id_expected",
        description: "the URI is the identity that was admitted",
        citation: "SPIFFE X509-SVID section 2",
        holds: |input| match input.names {
            Names::Leaf(id) => input.uris().iter().all(|uri| *uri == id.as_str()),
            Names::Authority(_) => false,
        },
    },
    Lint {
        name: "leaf_id_has_path",
        description: "the SPIFFE ID has a path",
        citation: "X509-SVID section 5.2",
        holds: |input| input.uris().iter().all(|uri| SpiffeId::parse(uri).map_or(true, |id| !id.path().is_empty())),
    },
    Lint {
        name: "leaf_of_issuers_trust_domain",
        description: "the identity is of the trust domain that the issuer's own SPIFFE ID names",
        citation: "X509-SVID section 3.1",
        holds: of_issuers_trust_domain,
    },
    Lint {
        name: "leaf_san_kinds",
        description: "subjectAltName holds URI, dNSName and iPAddress only",
        citation: "the leaf profile (pki::template)",
        holds: |input| {
            input
                .sans()
                .iter()
                .all(|name| matches!(name, GeneralName::URI(_) | GeneralName::DNSName(_) | GeneralName::IPAddress(_)))
        },
    },
    Lint {
        name: "leaf_dns_names_valid",
        description: "each dNSName is a lower-case host name without wildcard",
        citation: "RFC 5280 section 4.2.1.6",
        holds: |input| {
            input.sans().iter().all(
                |name| {
                    if let GeneralName::DNSName(name) = name { DnsName::parse(name).is_ok() } else { true }
                },
            )
        },
    },
    Lint {
        name: "leaf_ip_addresses_valid",
        description: "each iPAddress has 4 or 16 octets",
        citation: "RFC 5280 section 4.2.1.6",
        holds: |input| {
            input.sans().iter().all(
                |name| {
                    if let GeneralName::IPAddress(octets) = name { matches!(octets.len(), 4 | 16) } else { true }
                },
            )
        },
    },
    Lint {
        name: "leaf_san_distinct",
        description: "no dNSName or iPAddress stands twice",
        citation: "the leaf profile (pki::template)",
        holds: |input| {
            let mut seen = HashSet::new();
            input.sans().iter().all(|name| {
                if let GeneralName::DNSName(name) = name {
                    seen.insert(name.as_bytes())
                } else if let GeneralName::IPAddress(octets) = name {
                    seen.insert(octets)
                } else {
                    true
                }
            })
        },
    },
    Lint {
        name: "leaf_not_ca",
        description: "cA is false",
        citation: "X509-SVID section 4.1",
        holds: |input| input.basic_constraints().is_none_or(|(_, basic)| !basic.ca),
    },
    Lint {
        name: "leaf_no_path_length",
        description: "pathLenConstraint is absent",
        citation: "RFC 5280 section 4.2.1.9",
        holds: |input| input.basic_constraints().is_none_or(|(_, basic)| basic.path_len_constraint.is_none()),
    },
    Lint {
        name: "leaf_digital_signature",
        description: "keyUsage has digitalSignature",
        citation: "X509-SVID section 4.3",
        holds: |input| input.key_usage().is_none_or(|(_, usage)| usage.digital_signature()),
    },
    Lint {
        name: "leaf_no_cert_sign",
        description: "keyUsage has not keyCertSign",
        citation: "X509-SVID section 4.3",
        holds: |input| input.key_usage().is_none_or(|(_, usage)| !usage.key_cert_sign()),
    },
    Lint {
        name: "leaf_no_crl_sign",
        description: "keyUsage has not cRLSign",
        citation: "X509-SVID section 4.3",
        holds: |input| input.key_usage().is_none_or(|(_, usage)| !usage.crl_sign()),
    },
    Lint {
        name: "leaf_no_other_usage",
        description: "keyUsage has nothing besides what TLS 1.3 uses",
        citation: "the leaf profile (pki::template)",
        holds: |input| {
            input.key_usage().is_none_or(|(_, usage)| {
                !usage.non_repudiation()
                    && !usage.key_encipherment()
                    && !usage.data_encipherment()
                    && !usage.key_agreement()
                    && !usage.encipher_only()
                    && !usage.decipher_only()
            })
        },
    },
    Lint {
        name: "leaf_extended_key_usage_present",
        description: "extendedKeyUsage is present",
        citation: "X509-SVID section 4.4",
        holds: |input| input.extended_key_usage().is_some(),
    },
    Lint {
        name: "leaf_server_auth",
        description: "extendedKeyUsage has serverAuth",
        citation: "X509-SVID section 4.4",
        holds: |input| input.extended_key_usage().is_none_or(|usage| usage.server_auth),
    },
    Lint {
        name: "leaf_client_auth",
        description: "extendedKeyUsage has clientAuth",
        citation: "X509-SVID section 4.4",
        holds: |input| input.extended_key_usage().is_none_or(|usage| usage.client_auth),
    },
    Lint {
        name: "leaf_no_other_purpose",
        description: "extendedKeyUsage has nothing besides serverAuth and clientAuth",
        citation: "the leaf profile (pki::template)",
        holds: |input| {
            input.extended_key_usage().is_none_or(|usage| {
                !usage.any
                    && !usage.code_signing
                    && !usage.email_protection
                    && !usage.time_stamping
                    && !usage.ocsp_signing
                    && usage.other.is_empty()
            })
        },
    },
    Lint {
        name: "leaf_life_bounded",
        description: "the life is at most 90 days and the back-dating",
        citation: "profile: the longest life of a leaf (Istio's maximum)",
        holds: |input| {
            let validity = input.certificate.validity();
            let life = validity.not_after.timestamp().saturating_sub(validity.not_before.timestamp());
            u64::try_from(life).map_or(true, |life| life < MOST_TTL.as_secs() + LEAF_BACKDATE.as_secs())
        },
    },
];

fn of_issuers_trust_domain(input: &Input<'_>) -> bool {
    let Names::Leaf(id) = input.names else { return false };
    input.issuer_uris().iter().all(|uri| SpiffeId::parse(uri).is_ok_and(|issuer| issuer.trust_domain() == id.trust_domain()))
}
