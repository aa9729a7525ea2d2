//! The extensions that this system reads (RFC 5280 section 4.2.1).

use std::collections::HashSet;

use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};

use super::CertificateError;
use crate::der;

/// The name of an extension, and whether it is critical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtensionHeader {
    /// The content of the object identifier.
    pub(crate) oid: Vec<u8>,
    pub(crate) critical: bool,
}

impl ExtensionHeader {
    /// Whether the rules here or path building take this extension into account, so that it may be critical.
    pub(crate) fn is_understood(&self) -> bool {
        matches!(
            self.oid.as_slice(),
            KEY_USAGE | SUBJECT_ALTERNATIVE_NAME | BASIC_CONSTRAINTS | NAME_CONSTRAINTS | EXTENDED_KEY_USAGE
        )
    }
}

/// keyUsage (RFC 5280 section 4.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyUsage {
    pub(crate) critical: bool,
    /// Bit n is the n-th flag of the RFC, digitalSignature being bit 0.
    pub(crate) flags: u16,
}

impl KeyUsage {
    pub(crate) fn digital_signature(self) -> bool {
        self.flags & 1 != 0
    }

    pub(crate) fn key_cert_sign(self) -> bool {
        self.flags & (1 << 5) != 0
    }

    pub(crate) fn crl_sign(self) -> bool {
        self.flags & (1 << 6) != 0
    }
}

/// basicConstraints (RFC 5280 section 4.2.1.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BasicConstraints {
    pub(crate) critical: bool,
    pub(crate) ca: bool,
    pub(crate) path_length: Option<u32>,
}

/// extKeyUsage (RFC 5280 section 4.2.1.12), as far as TLS goes. `anyExtendedKeyUsage` counts for neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExtendedKeyUsage {
    pub(crate) server_auth: bool,
    pub(crate) client_auth: bool,
}

/// All extensions of a certificate.
#[derive(Clone, Debug, Default)]
pub(super) struct Extensions {
    pub(super) headers: Vec<ExtensionHeader>,
    pub(super) key_usage: Option<KeyUsage>,
    pub(super) basic_constraints: Option<BasicConstraints>,
    pub(super) extended_key_usage: Option<ExtendedKeyUsage>,
    pub(super) uri_sans: Vec<String>,
    pub(super) dns_sans: Vec<String>,
    /// Alternative names that are neither URIs nor DNS names.
    pub(super) other_sans: usize,
    pub(super) subject_key_id: Option<Vec<u8>>,
    pub(super) authority_key_id: Option<Vec<u8>>,
}

impl Extensions {
    pub(super) fn parse(extensions: &[X509Extension<'_>]) -> Result<Self, CertificateError> {
        let mut out = Self::default();
        let mut seen = HashSet::new();
        for extension in extensions {
            let oid = extension.oid.as_bytes();
            if !seen.insert(oid) {
                return Err(CertificateError::DuplicateExtension { oid: der::oid_text(oid) });
            }
            if !out.read(extension) {
                return Err(CertificateError::MalformedExtension { oid: der::oid_text(oid) });
            }
            out.headers.push(ExtensionHeader { oid: oid.to_vec(), critical: extension.critical });
        }
        Ok(out)
    }

    /// Whether the extension could be read, or need not be.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not read here is left alone, whatever the parser knows of it")]
    fn read(&mut self, extension: &X509Extension<'_>) -> bool {
        let critical = extension.critical;
        match extension.parsed_extension() {
            ParsedExtension::ParseError { .. } => return false,
            ParsedExtension::KeyUsage(usage) => self.key_usage = Some(KeyUsage { critical, flags: usage.flags }),
            ParsedExtension::BasicConstraints(constraints) => {
                self.basic_constraints =
                    Some(BasicConstraints { critical, ca: constraints.ca, path_length: constraints.path_len_constraint });
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.extended_key_usage =
                    Some(ExtendedKeyUsage { server_auth: usage.server_auth, client_auth: usage.client_auth });
            }
            ParsedExtension::SubjectAlternativeName(names) => match read_uris(&names.general_names) {
                Some(uris) => {
                    self.dns_sans = dns_names(&names.general_names);
                    self.other_sans = names.general_names.len().saturating_sub(uris.len() + self.dns_sans.len());
                    self.uri_sans = uris;
                }
                None => return false,
            },
            ParsedExtension::SubjectKeyIdentifier(id) => self.subject_key_id = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            _ => return true,
        }
        der::check(extension.value).is_ok()
    }
}

/// The URIs among alternative names, as they stand; `None` when any name is malformed, of whatever kind.
pub(crate) fn read_uris(names: &[GeneralName<'_>]) -> Option<Vec<String>> {
    let mut uris = Vec::new();
    for name in names {
        match name {
            // IA5String is ASCII (RFC 5280 section 4.2.1.6), which the parser does not insist on.
            GeneralName::URI(text) | GeneralName::DNSName(text) | GeneralName::RFC822Name(text) if !text.is_ascii() => {
                return None;
            }
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::IPAddress(bytes) if matches!(bytes.len(), 4 | 16) => {}
            GeneralName::IPAddress(_) | GeneralName::Invalid(..) => return None,
            GeneralName::DNSName(_)
            | GeneralName::OtherName(..)
            | GeneralName::RFC822Name(_)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::RegisteredID(_) => {}
        }
    }
    Some(uris)
}

/// The DNS names among alternative names, as they stand.
fn dns_names(names: &[GeneralName<'_>]) -> Vec<String> {
    names.iter().filter_map(|name| if let GeneralName::DNSName(dns) = name { Some((*dns).to_owned()) } else { None }).collect()
}

/// Below `id-ce`, 2.5.29 (RFC 5280 section 4.2.1).
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
pub(super) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 30];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
