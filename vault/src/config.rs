//! The keys of a configuration that both the CA and the agent have for such a server.

use std::path::PathBuf;
use std::str::FromStr;

use mtls::https::HttpsUrl;
use runtime::config::{Section, absolute_path};
use runtime::secret_source::SecretSource;

use crate::PathName;

/// The longest id of a role of AppRole that is taken, in bytes.
const MAX_ROLE_ID_BYTES: usize = 256;

/// A server that speaks the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultConfig {
    /// `https://host[:port]`.
    pub address: HttpsUrl,
    /// PEM file with the only authorities that count for the server's own certificate, read anew for each call. Absolute.
    pub roots: PathBuf,
    /// Sent with each call as `X-Vault-Namespace`.
    pub namespace: Option<PathName>,
    /// Where the PKI secrets engine is mounted.
    pub mount: PathName,
    /// The issuer of that engine which signs; `None` leaves it to the engine.
    pub issuer: Option<PathName>,
    /// What proves this process.
    pub auth: AuthMethod,
}

/// What proves this process to the server. What is read for it is read when it is needed, and forgotten after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// A token that somebody else keeps; read for each call, since it may change.
    Token(SecretSource),
    /// AppRole.
    AppRole {
        /// Where the method is mounted.
        mount: PathName,
        /// Which role; no secret.
        role_id: String,
        /// What proves it.
        secret_id: SecretSource,
    },
    /// The token of a Kubernetes service account.
    Kubernetes {
        /// Where the method is mounted.
        mount: PathName,
        /// Which role of the method.
        role: PathName,
        /// The file into which the token is projected. Absolute.
        token_file: PathBuf,
    },
    /// A client certificate.
    Certificate {
        /// Where the method is mounted.
        mount: PathName,
        /// Which role of the method; `None`: any that fits.
        role: Option<PathName>,
        /// PEM, leaf first. Absolute.
        chain: PathBuf,
        /// Its private key, PEM, out of reach for others. Absolute.
        key: PathBuf,
    },
}

impl VaultConfig {
    /// Reads the keys of a table. Faults go to its document; `None` when one of them leaves nothing to use.
    #[must_use]
    pub fn read(section: &Section<'_>) -> Option<Self> {
        let address = section.required("address", |text| {
            let url = HttpsUrl::from_str(text).map_err(|error| error.to_string())?;
            if url.is_of_server() { Ok(url) } else { Err("expected https://host:port with nothing behind it".to_owned()) }
        });
        let roots = section.required("roots", absolute_path);
        let namespace = section.optional("namespace", PathName::from_str);
        let mount = section.optional("mount", PathName::from_str);
        let issuer = section.optional("issuer", PathName::segment);
        if !section.has("auth") {
            section.fault("auth", "missing: say in a table [auth] below this one what proves this process to the server");
            return None;
        }
        let auth = read_auth(&section.section("auth"));
        let mount = mount.or_else(|| PathName::from_str("pki").ok());
        Some(Self { address: address?, roots: roots?, namespace, mount: mount?, issuer, auth: auth? })
    }
}

/// Which way, and where it is mounted unless the table says so.
#[derive(Clone, Copy)]
enum Way {
    Token,
    AppRole,
    Kubernetes,
    Certificate,
}

fn read_auth(section: &Section<'_>) -> Option<AuthMethod> {
    let way = section.required("method", |text| match text {
        "token" => Ok(Way::Token),
        "approle" => Ok(Way::AppRole),
        "kubernetes" => Ok(Way::Kubernetes),
        "cert" => Ok(Way::Certificate),
        _ => Err("expected \"token\", \"approle\", \"kubernetes\" or \"cert\""),
    })?;
    let mounted = |default: &str| section.optional("mount", PathName::from_str).or_else(|| default.parse().ok());
    let secret = |file: &'static str, credential: &'static str| {
        let source = SecretSource::from_config(section, file, credential);
        if source.is_none() {
            section.fault(file, format!("missing: name the file, or a credential in {credential}"));
        }
        source
    };
    match way {
        Way::Token => secret("token_file", "token_credential").map(AuthMethod::Token),
        Way::AppRole => {
            let mount = mounted("approle");
            let role_id = section.required("role_id", |text| {
                let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
                let fits = (1..=MAX_ROLE_ID_BYTES).contains(&text.len());
                if plain && fits { Ok(text.to_owned()) } else { Err("expected 1 to 256 printable characters") }
            });
            let secret_id = secret("secret_id_file", "secret_id_credential");
            Some(AuthMethod::AppRole { mount: mount?, role_id: role_id?, secret_id: secret_id? })
        }
        Way::Kubernetes => {
            let mount = mounted("kubernetes");
            let role = section.required("role", PathName::segment);
            let token_file = section.required("token_file", absolute_path);
            Some(AuthMethod::Kubernetes { mount: mount?, role: role?, token_file: token_file? })
        }
        Way::Certificate => {
            let mount = mounted("cert");
            let role = section.optional("role", PathName::segment);
            let chain = section.required("certificate_file", absolute_path);
            let key = section.required("key_file", absolute_path);
            Some(AuthMethod::Certificate { mount: mount?, role, chain: chain?, key: key? })
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::config::{ConfigErrors, Document};

    use super::*;

    const SERVER: &str = "address = \"https://vault.example:8200\"\nroots = \"/roots.pem\"\n";
    const TOKEN: &str = "[auth]\nmethod = \"token\"\ntoken_file = \"/token\"\n";

    fn read(text: &str) -> Result<VaultConfig, ConfigErrors> {
        let document = Document::parse("f", text).unwrap();
        let config = VaultConfig::read(&document.root());
        document.finish().map(|()| config.expect("without a fault there is a configuration"))
    }

    #[test]
    fn each_way_to_prove_oneself_is_read_with_its_defaults() {
        let config = read(&format!("{SERVER}{TOKEN}")).unwrap();
        assert_eq!((config.mount.as_str(), config.namespace, config.issuer), ("pki", None, None));
        assert_eq!(config.auth, AuthMethod::Token(SecretSource::File("/token".into())));
        let full = format!("namespace = \"team/a\"\nmount = \"team/pki\"\nissuer = \"root-2026\"\n{SERVER}");
        let config = read(&format!(
            "{full}[auth]\nmethod = \"approle\"\nmount = \"apps\"\nrole_id = \"5b3e-1\"\nsecret_id_credential = \"vault\"\n"
        ))
        .unwrap();
        assert_eq!(config.namespace.unwrap().as_str(), "team/a");
        let secret_id = SecretSource::Credential("vault".to_owned());
        let (mount, role_id) = ("apps".parse().unwrap(), "5b3e-1".to_owned());
        assert_eq!(config.auth, AuthMethod::AppRole { mount, role_id, secret_id });
        let config = read(&format!("{SERVER}[auth]\nmethod = \"kubernetes\"\nrole = \"signet\"\ntoken_file = \"/t\"\n")).unwrap();
        let (mount, role) = ("kubernetes".parse().unwrap(), "signet".parse().unwrap());
        assert_eq!(config.auth, AuthMethod::Kubernetes { mount, role, token_file: "/t".into() });
        let config = read(&format!("{SERVER}[auth]\nmethod = \"cert\"\ncertificate_file = \"/c\"\nkey_file = \"/k\"\n")).unwrap();
        let mount = "cert".parse().unwrap();
        assert_eq!(config.auth, AuthMethod::Certificate { mount, role: None, chain: "/c".into(), key: "/k".into() });
    }

    #[test]
    fn each_fault_names_its_key() {
        let good = format!("{SERVER}{TOKEN}");
        assert!(read(&good).is_ok());
        for (from, to, key) in [
            ("https://vault.example:8200", "http://vault.example:8200", "address"),
            ("https://vault.example:8200", "https://vault.example:8200/v1", "address"),
            ("https://vault.example:8200", "https://root:token@vault.example", "address"),
            ("roots = \"/roots.pem\"\n", "", "roots"),
            ("roots = ", "mount = \"../sys\"\nroots = ", "mount"),
            ("roots = ", "issuer = \"a/b\"\nroots = ", "issuer"),
            ("roots = ", "namespace = \"a b\"\nroots = ", "namespace"),
            ("roots = ", "token = \"hvs.secret\"\nroots = ", "token"),
            (TOKEN, "", "auth"),
            ("\"token\"", "\"userpass\"", "auth.method"),
            ("token_file = \"/token\"\n", "", "auth.token_file"),
            ("token_file = \"/token\"", "token_file = \"token\"", "auth.token_file"),
            ("token_file", "role = \"r\"\ntoken_file", "auth.role"),
            ("\"token\"\ntoken_file = \"/token\"", "\"approle\"\nrole_id = \"a b\"\nsecret_id_file = \"/s\"", "auth.role_id"),
            ("\"token\"\ntoken_file = \"/token\"", "\"approle\"\nrole_id = \"a\"", "auth.secret_id_file"),
            ("\"token\"\ntoken_file = \"/token\"", "\"kubernetes\"\ntoken_file = \"/t\"", "auth.role"),
            ("\"token\"\ntoken_file = \"/token\"", "\"cert\"\ncertificate_file = \"/t\"", "auth.key_file"),
        ] {
            let faults = read(&good.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(faults.contains(&format!("{key}: ")), "{key} in {faults}");
        }
    }
}
