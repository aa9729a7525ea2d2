//! Why no authority was made.

use std::path::PathBuf;

use pkcs11::TokenError;
use pki::CertificateError;
use runtime::private_files::PrivateFileError;

use crate::federation::EndpointError;
use crate::keystore::KeystoreError;
use crate::oidc::OidcStartError;
use crate::provisioning::ProvisioningRootsError;
use crate::rotation::maker::MakeError;
use crate::signing_keys::SigningKeyError;
use crate::store::{OpenError, StoreError};

/// Why no authority was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Something of an authority is there already.
    #[error("{}: exists already, and nothing is overwritten; name another state_dir, or move it away if it is not needed", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// A root without an issuing CA: an earlier run was cut short, or the generations are lost.
    #[error(
        "{}: a root is there, but no issuing CA under it (an earlier `signet ca init` may have been cut short); make one with \
         `signet ca issuer renew`, and `--root-key FILE` if the root's key was put elsewhere",
        root_certificate.display()
    )]
    WithoutIssuer {
        /// The root's certificate file.
        root_certificate: PathBuf,
    },
    /// A root's key without its certificate: an earlier run was cut short, or the key is another authority's.
    #[error(
        "{}: a root key is there, but no {}; if an earlier `signet ca init` was cut short, nothing was issued under that key: remove \
         the file and run again; if it is another authority's, name another directory",
        path.display(), root_certificate.display()
    )]
    LoneRootKey {
        /// The key's file.
        path: PathBuf,
        /// Where the certificate would be.
        root_certificate: PathBuf,
    },
    /// The configuration names a plugged-in authority, which is made and renewed by whoever plugs it in.
    #[error("the authority is plugged in from {} ([authority] directory): make and renew it with the tool that fills that directory", directory.display())]
    PluggedIn {
        /// The configured directory.
        directory: PathBuf,
    },
    /// The configuration names an upstream, which signs what is made.
    #[error(
        "issuing CAs are signed upstream ([upstream]): `signet ca run` asks for the first one at its start, and for each next one by itself"
    )]
    Upstream,
    /// The root's key is not there.
    #[error("{}: no root key; name its file with `--root-key FILE`", path.display())]
    NoRootKey {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The state directory has no root, so there is nothing to renew.
    #[error("{}: no root certificate; make an authority with `signet ca init`", path.display())]
    NoRoot {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file holds no or several certificates.
    #[error("{}: holds {found} certificates where one is needed", path.display())]
    RootCount {
        /// The root's certificate file.
        path: PathBuf,
        /// How many it holds.
        found: usize,
    },
    /// The root's certificate does not parse.
    #[error("{}: {cause}", path.display())]
    Certificate {
        /// The root's certificate file.
        path: PathBuf,
        /// What is wrong.
        cause: CertificateError,
    },
    /// The key is not the root's.
    #[error("{}: the key does not match the certificate in {}", key_file.display(), certificate_file.display())]
    RootKeyMismatch {
        /// The key's file.
        key_file: PathBuf,
        /// The certificate's file.
        certificate_file: PathBuf,
    },
    /// A key could not be made or read.
    #[error(transparent)]
    SigningKey(#[from] SigningKeyError),
    /// The token in which keys lie.
    #[error(transparent)]
    Token(#[from] Box<TokenError>),
    /// A key in a token lies nowhere else.
    #[error(
        "--root-key-out puts a key into a file elsewhere, and [keys] store = \"pkcs11\" makes it in the token, which it never leaves: leave the option out"
    )]
    RootKeyOutOfToken,
    /// The root's key is none that could be copied.
    #[error("--root-secret puts a copy of the root's key into a Secret, and [keys] store is not \"file\": leave the option out")]
    RootSecretOfToken,
    /// No cluster is configured.
    #[error("--root-secret needs [kubernetes] in the configuration: the cluster that has the Secret")]
    NoCluster,
    /// The Secret is no root's.
    #[error("the Secret {namespace}/{name} is there and has no {file}: name another one, or look who made it")]
    RootSecretWithout {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What is missing in it.
        file: &'static str,
    },
    /// The cluster that has the Secret.
    #[error(transparent)]
    Cluster(#[from] Box<::kubernetes::ApiError>),
    /// The JWT key was taken away at once.
    #[error("{}: is gone, just after it was written", path.display())]
    NoJwtKey {
        /// Where it was.
        path: PathBuf,
    },
    /// A key, a certificate or its directory could not be made.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// The authority directory is not usable.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// A file or directory is not usable.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The store does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a start would be refused.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The state directory or the authority.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The token in which keys lie.
    #[error(transparent)]
    Token(#[from] Box<TokenError>),
    /// The JWT key.
    #[error(transparent)]
    SigningKey(#[from] SigningKeyError),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rules for tokens.
    #[error(transparent)]
    Oidc(#[from] OidcStartError),
    /// The roots of a provisioning authority.
    #[error(transparent)]
    Provisioning(#[from] ProvisioningRootsError),
    /// The bundle endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}
