//! What proves this process, read from where the configuration says: when it is needed, and forgotten after. Blocks.

use std::path::Path;

use pki::{Certificate, PrivateKey, certificates_from_pem};
use runtime::private_files;
use runtime::secret_source::SecretSource;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::answer::{MAX_TOKEN_BYTES, is_token};
use crate::{AuthMethod, PathName, VaultError};

/// The most bytes of a token of a service account, and of a secret id.
const MAX_SECRET_BYTES: usize = 16 * 1024;
/// The most bytes of a certificate's file and of its key's.
const MAX_PEM_BYTES: usize = 512 * 1024;

/// Room for the longest secret with each of its bytes escaped (RFC 8259 section 7), and what stands around it.
const MAX_LOGIN_BYTES: usize = 6 * MAX_SECRET_BYTES + 4096;

/// What is sent to log in.
pub(crate) struct LoginCall {
    /// Behind `/v1/`.
    pub(crate) path: String,
    /// JSON.
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// How to come to a token.
pub(crate) enum Proof {
    /// It lies there already.
    Token(Zeroizing<String>),
    /// By this call.
    Login(LoginCall),
}

impl AuthMethod {
    /// What to show now.
    ///
    /// # Errors
    /// [`VaultError::Credential`], which names the key and tells nothing of what was read.
    pub(crate) fn proof(&self) -> Result<Proof, VaultError> {
        match self {
            Self::Token(source) => read_token(source).map(Proof::Token),
            Self::AppRole { mount, role_id, secret_id } => {
                let secret = read_secret("secret_id_file", secret_id)?;
                login(mount, &AppRoleLogin { role_id, secret_id: &secret })
            }
            Self::Kubernetes { mount, role, token_file } => {
                let token = read_service_account_token(token_file)?;
                login(mount, &KubernetesLogin { role: role.as_str(), jwt: &token })
            }
            Self::Certificate { mount, role, .. } => {
                login(mount, &CertificateLogin { name: role.as_ref().map(PathName::as_str) })
            }
        }
    }

    /// The certificate to show in TLS, where that is how this process proves itself.
    ///
    /// # Errors
    /// [`VaultError::Credential`].
    pub(crate) fn certificate(&self) -> Result<Option<(Vec<Certificate>, PrivateKey)>, VaultError> {
        let Self::Certificate { chain, key, .. } = self else { return Ok(None) };
        let refused = |what| move |cause: String| VaultError::Credential { what, cause };
        let pem = private_files::read_private(key, MAX_PEM_BYTES).map_err(|error| refused("key_file")(error.to_string()))?;
        let pem = Zeroizing::new(pem);
        let key = PrivateKey::from_pem(&pem).map_err(|error| refused("key_file")(error.to_string()))?;
        let read = private_files::read_bounded(chain, MAX_PEM_BYTES);
        let pem = read.map_err(|error| refused("certificate_file")(error.to_string()))?;
        let chain = certificates_from_pem(&pem).map_err(|error| refused("certificate_file")(error.to_string()))?;
        if chain.first().is_none_or(|leaf| leaf.public_key() != key.public_key()) {
            return Err(refused("certificate_file")("its first certificate is not for the key in key_file".to_owned()));
        }
        Ok(Some((chain, key)))
    }
}

#[derive(Serialize)]
struct AppRoleLogin<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Serialize)]
struct KubernetesLogin<'a> {
    role: &'a str,
    jwt: &'a str,
}

#[derive(Serialize)]
struct CertificateLogin<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

/// Written straight into bytes that are wiped, which have room for all of it: a buffer that grows leaves pieces of a secret behind.
fn login(mount: &PathName, content: &impl Serialize) -> Result<Proof, VaultError> {
    let mut body = Zeroizing::new(Vec::with_capacity(MAX_LOGIN_BYTES));
    serde_json::to_writer(&mut *body, content)
        .map_err(|error| VaultError::Credential { what: "auth", cause: error.to_string() })?;
    Ok(Proof::Login(LoginCall { path: format!("auth/{mount}/login"), body }))
}

fn read_token(source: &SecretSource) -> Result<Zeroizing<String>, VaultError> {
    let refused = |cause: String| VaultError::Credential { what: "token_file", cause };
    let bytes = source.read(MAX_TOKEN_BYTES + 2).map(Zeroizing::new).map_err(|error| refused(error.to_string()))?;
    let malformed = || refused(format!("{source} holds no token: {} bytes, or characters that no token has", bytes.len()));
    trimmed(&bytes).filter(|token| is_token(token)).map(|token| Zeroizing::new(token.to_owned())).ok_or_else(malformed)
}

fn read_secret(what: &'static str, source: &SecretSource) -> Result<Zeroizing<String>, VaultError> {
    let refused = |cause: String| VaultError::Credential { what, cause };
    let bytes = source.read(MAX_SECRET_BYTES).map(Zeroizing::new).map_err(|error| refused(error.to_string()))?;
    let secret = trimmed(&bytes).filter(|secret| !secret.is_empty());
    secret.map(|secret| Zeroizing::new(secret.to_owned())).ok_or_else(|| refused(format!("{source} is empty, or no text")))
}

/// As the kubelet projects it, which may be readable by others in the pod.
fn read_service_account_token(path: &Path) -> Result<Zeroizing<String>, VaultError> {
    let refused = |cause: String| VaultError::Credential { what: "token_file", cause };
    let bytes =
        private_files::read_bounded(path, MAX_SECRET_BYTES).map(Zeroizing::new).map_err(|error| refused(error.to_string()))?;
    let is_jwt = |text: &&str| {
        let of_a_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let parts = text.split('.');
        parts.clone().count() == 3 && parts.clone().all(|part| !part.is_empty() && part.bytes().all(of_a_part))
    };
    let malformed = || refused(format!("{}: it holds no JWT ({} bytes)", path.display(), bytes.len()));
    trimmed(&bytes).filter(is_jwt).map(|token| Zeroizing::new(token.to_owned())).ok_or_else(malformed)
}

fn trimmed(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.trim_ascii()).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;

    fn put(directory: &Path, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn body(auth: &AuthMethod) -> (String, serde_json::Value) {
        match auth.proof() {
            Ok(Proof::Login(LoginCall { path, body })) => (path, serde_json::from_slice(&body).unwrap()),
            Ok(Proof::Token(_)) => panic!("no login"),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn each_way_sends_what_its_api_documents() {
        let home = tempfile::tempdir().unwrap();
        let secret = put(home.path(), "secret", "5f-2\n", 0o600);
        let approle = AuthMethod::AppRole {
            mount: "apps".parse().unwrap(),
            role_id: "r-1".to_owned(),
            secret_id: SecretSource::File(secret),
        };
        assert_eq!(body(&approle), ("auth/apps/login".to_owned(), json!({ "role_id": "r-1", "secret_id": "5f-2" })));
        let token_file = put(home.path(), "jwt", "aa.bb.c-_\n", 0o644);
        let role = "signet".parse().unwrap();
        let kubernetes = AuthMethod::Kubernetes { mount: "kubernetes".parse().unwrap(), role, token_file };
        assert_eq!(body(&kubernetes), ("auth/kubernetes/login".to_owned(), json!({ "role": "signet", "jwt": "aa.bb.c-_" })));
        put(home.path(), "jwt", "hunter2", 0o644);
        let refused = kubernetes.proof().err().unwrap().to_string();
        assert!(refused.contains("holds no JWT (7 bytes)") && !refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn a_token_must_lie_out_of_reach_for_others_and_is_never_told() {
        let home = tempfile::tempdir().unwrap();
        let path = put(home.path(), "token", " hvs.abc\n", 0o600);
        let auth = AuthMethod::Token(SecretSource::File(path));
        let Ok(Proof::Token(token)) = auth.proof() else { panic!("a token") };
        assert_eq!(*token, "hvs.abc");
        for (content, mode) in [("hvs.abc", 0o644), ("hvs abc", 0o600), ("", 0o600), ("\u{1}hvs", 0o600)] {
            put(home.path(), "token", content, mode);
            let refused = auth.proof().err().unwrap().to_string();
            assert!(refused.contains("token") && !refused.contains("hvs"), "{refused}");
        }
    }

    #[test]
    fn a_certificate_is_shown_with_its_own_key_alone() {
        let home = tempfile::tempdir().unwrap();
        let pair = |chain: &str, key: &PrivateKey, mode| AuthMethod::Certificate {
            mount: "cert".parse().unwrap(),
            role: None,
            chain: put(home.path(), "chain.pem", chain, 0o644),
            key: put(home.path(), "key.pem", &key.to_pkcs8_pem(), mode),
        };
        let (certificate, key) = crate::tests::root();
        let (_, other) = crate::tests::root();
        let pem = pki::certificates_to_pem([&certificate]);
        assert!(pair(&pem, &key, 0o600).certificate().unwrap().is_some());
        assert_eq!(body(&pair(&pem, &key, 0o600)), ("auth/cert/login".to_owned(), json!({})));
        let refused = pair(&pem, &other, 0o600).certificate().unwrap_err().to_string();
        assert!(refused.contains("not for the key"), "{refused}");
        assert!(pair(&pem, &key, 0o644).certificate().is_err(), "others can read the key");
        assert!(pair("", &key, 0o600).certificate().is_err());
    }
}
