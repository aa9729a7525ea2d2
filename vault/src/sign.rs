//! What is asked of the PKI secrets engine. Pure.

use std::time::Duration;

use pki::request_to_pem;
use serde_json::{Map, Value, json};

use crate::{PathName, VaultConfig};

/// A leaf by a role of the engine (`sign/<role>`).
#[derive(Clone, Debug)]
pub struct LeafRequest {
    /// The role, whose rules decide what is signed.
    pub role: PathName,
    /// PKCS #10 (RFC 2986), DER.
    pub csr_der: Vec<u8>,
    /// The one URI name.
    pub uri: String,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// The life asked for, in whole seconds; `None` leaves it to the role.
    pub ttl: Option<Duration>,
}

/// A CA below the engine's issuer (`sign-intermediate`). Whoever may ask for this may have any CA: the role of the engine is none.
#[derive(Clone, Debug)]
pub struct IntermediateRequest {
    /// PKCS #10 (RFC 2986), DER. Its key counts, and its self-signature; names come from the fields below.
    pub csr_der: Vec<u8>,
    /// Common name of the subject.
    pub common_name: String,
    /// Organization of the subject; `None` for none.
    pub organization: Option<String>,
    /// Serial number of the subject, which tells this CA from the ones of before.
    pub subject_serial: String,
    /// The one URI name.
    pub uri: String,
    /// How many CAs may stand below it.
    pub path_len: u8,
    /// The life asked for, in whole seconds.
    pub ttl: Duration,
}

/// Where a request goes, behind `/v1/`, and what it says.
pub(crate) struct Question {
    pub(crate) path: String,
    pub(crate) body: Value,
}

impl LeafRequest {
    pub(crate) fn question(&self, config: &VaultConfig) -> Question {
        let Self { role, csr_der, uri, dns_names, ttl } = self;
        let mount = &config.mount;
        let path = match &config.issuer {
            None => format!("{mount}/sign/{role}"),
            Some(issuer) => format!("{mount}/issuer/{issuer}/sign/{role}"),
        };
        let mut body = Map::new();
        body.insert("csr".to_owned(), request_to_pem(csr_der).into());
        body.insert("format".to_owned(), "pem".into());
        body.insert("uri_sans".to_owned(), uri.as_str().into());
        // A subject that the role makes must not become a name that counts.
        body.insert("exclude_cn_from_sans".to_owned(), true.into());
        if !dns_names.is_empty() {
            body.insert("alt_names".to_owned(), dns_names.join(",").into());
        }
        if let Some(ttl) = ttl {
            body.insert("ttl".to_owned(), seconds(*ttl).into());
        }
        Question { path, body: Value::Object(body) }
    }
}

impl IntermediateRequest {
    pub(crate) fn question(&self, config: &VaultConfig) -> Question {
        let Self { csr_der, common_name, organization, subject_serial, uri, path_len, ttl } = self;
        let mount = &config.mount;
        let path = match &config.issuer {
            None => format!("{mount}/root/sign-intermediate"),
            Some(issuer) => format!("{mount}/issuer/{issuer}/sign-intermediate"),
        };
        let mut body = json!({
            "csr": request_to_pem(csr_der),
            "format": "pem",
            // With the values of the request, its extensions would be copied too, and its subject, which may be empty: nothing could
            // name such an issuer (RFC 5280 section 4.1.2.6).
            "use_csr_values": false,
            "common_name": common_name,
            "serial_number": subject_serial,
            "exclude_cn_from_sans": true,
            "uri_sans": uri,
            "max_path_length": path_len,
            "ttl": seconds(*ttl),
        });
        if let (Some(organization), Some(body)) = (organization, body.as_object_mut()) {
            body.insert("organization".to_owned(), organization.as_str().into());
        }
        Question { path, body }
    }
}

fn seconds(life: Duration) -> String {
    format!("{}s", life.as_secs())
}
