//! What a lint sees: the certificate, parsed from DER, the one of its issuer, and the names that are expected.

use identity::{SpiffeId, TrustDomain};
use x509_parser::extensions::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, GeneralName, KeyUsage, ParsedExtension, X509Extension,
};
use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_KEY_USAGE, OID_X509_EXT_SUBJECT_ALT_NAME, OID_X509_EXT_SUBJECT_KEY_IDENTIFIER, Oid,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::Certificate;

/// The names that the certificate is meant to carry.
#[derive(Clone, Copy)]
pub(super) enum Names<'a> {
    /// A leaf for this identity.
    Leaf(&'a SpiffeId),
    /// A CA of this trust domain.
    Authority(&'a TrustDomain),
}

/// What a lint sees. Where an extension stands twice the first is looked at; that it does is a finding of its own.
pub(super) struct Input<'a> {
    pub(super) certificate: X509Certificate<'a>,
    pub(super) issuer: Option<&'a Certificate>,
    pub(super) names: Names<'a>,
}

impl<'a> Input<'a> {
    /// Parses the certificate; `None` when it has a fault or trailing bytes, or an extension that a lint reads does not parse.
    pub(super) fn parse(der: &'a [u8], issuer: Option<&'a Certificate>, names: Names<'a>) -> Option<Self> {
        let certificate = parse_whole(der)?;
        let broken = |extension: &X509Extension<'_>| extension.parsed_extension().error().is_some();
        if certificate.extensions().iter().any(broken) {
            return None;
        }
        Some(Self { certificate, issuer, names })
    }

    pub(super) fn basic_constraints(&self) -> Option<(bool, &BasicConstraints)> {
        self.extension(&OID_X509_EXT_BASIC_CONSTRAINTS).and_then(|extension| {
            if let ParsedExtension::BasicConstraints(value) = extension.parsed_extension() {
                Some((extension.critical, value))
            } else {
                None
            }
        })
    }

    pub(super) fn key_usage(&self) -> Option<(bool, &KeyUsage)> {
        self.extension(&OID_X509_EXT_KEY_USAGE).and_then(|extension| {
            if let ParsedExtension::KeyUsage(value) = extension.parsed_extension() {
                Some((extension.critical, value))
            } else {
                None
            }
        })
    }

    pub(super) fn extended_key_usage(&self) -> Option<&ExtendedKeyUsage<'a>> {
        self.extension(&OID_X509_EXT_EXTENDED_KEY_USAGE).and_then(|extension| {
            if let ParsedExtension::ExtendedKeyUsage(value) = extension.parsed_extension() { Some(value) } else { None }
        })
    }

    pub(super) fn authority_key_identifier(&self) -> Option<(bool, &AuthorityKeyIdentifier<'a>)> {
        self.extension(&OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER).and_then(|extension| {
            if let ParsedExtension::AuthorityKeyIdentifier(value) = extension.parsed_extension() {
                Some((extension.critical, value))
            } else {
                None
            }
        })
    }

    pub(super) fn subject_key_identifier(&self) -> Option<(bool, &'a [u8])> {
        subject_key_identifier(&self.certificate)
    }

    pub(super) fn issuer_subject_key_identifier(&self) -> Option<&'a [u8]> {
        self.issuer.and_then(Certificate::subject_key_id)
    }

    /// Whether the SAN is critical, and its names.
    pub(super) fn subject_alternative_names(&self) -> Option<(bool, &[GeneralName<'a>])> {
        self.extension(&OID_X509_EXT_SUBJECT_ALT_NAME).and_then(|extension| {
            if let ParsedExtension::SubjectAlternativeName(value) = extension.parsed_extension() {
                Some((extension.critical, value.general_names.as_slice()))
            } else {
                None
            }
        })
    }

    /// All names of the SAN, none when it is absent.
    pub(super) fn sans(&self) -> &[GeneralName<'a>] {
        self.subject_alternative_names().map_or(&[], |(_, names)| names)
    }

    pub(super) fn uris(&self) -> Vec<&'a str> {
        uris(self.sans())
    }

    /// The URI SANs of the issuer's certificate.
    pub(super) fn issuer_uris(&self) -> &'a [String] {
        self.issuer.map_or(&[], Certificate::uri_sans)
    }

    fn extension(&self, oid: &Oid<'_>) -> Option<&X509Extension<'a>> {
        find(&self.certificate, oid)
    }
}

fn parse_whole(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, certificate)| certificate)
}

fn find<'c, 'a>(certificate: &'c X509Certificate<'a>, oid: &Oid<'_>) -> Option<&'c X509Extension<'a>> {
    certificate.extensions().iter().find(|extension| extension.oid == *oid)
}

fn subject_key_identifier<'a>(certificate: &X509Certificate<'a>) -> Option<(bool, &'a [u8])> {
    find(certificate, &OID_X509_EXT_SUBJECT_KEY_IDENTIFIER).and_then(|extension| {
        if let ParsedExtension::SubjectKeyIdentifier(value) = extension.parsed_extension() {
            Some((extension.critical, value.0))
        } else {
            None
        }
    })
}

fn uris<'a>(names: &[GeneralName<'a>]) -> Vec<&'a str> {
    let uri = |name: &GeneralName<'a>| if let GeneralName::URI(uri) = name { Some(*uri) } else { None };
    names.iter().filter_map(uri).collect()
}
