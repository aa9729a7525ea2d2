//! Certificates of authorities through the tokens of issuance, and generations on disk.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pki::{
    AuthorityRole, AuthoritySpec, Certificate, KeyProtection, PrivateKey, SERIAL_RANDOM_BYTES, SerialNumber, Timestamp,
    certificates_to_pem,
};
use runtime::entropy::{self, Entropy};
use runtime::private_files::{DirLock, Overwrite, ensure_private_dir, sync_dir, write_private, write_public};
use zeroize::Zeroizing;

use super::InitError;
use crate::authority::{AuthorityError, AuthorityFile, AuthorityFiles, PrivatePem, SigningAuthority};
use crate::config::CaConfig;
use crate::issuance::{Ledger, Verification, lint_authority, sign};
use crate::keystore::{CA_CERT, CA_KEY, CERT_CHAIN, ROOT_CERT, generation_name};
use crate::store::{IssuanceStore, SqliteStore};

/// A root lives 10 years and an issuing CA 1, until rotation exists.
const ROOT_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
const ISSUER_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Where a generation is written before it gets its number.
const UNFINISHED: &str = ".new";

/// Makes certificates and generations for one run of a command.
pub(super) struct Maker<'a> {
    pub(super) config: &'a CaConfig,
    pub(super) store: &'a SqliteStore,
    pub(super) entropy: &'a dyn Entropy,
    pub(super) caller: &'static str,
    pub(super) now: Timestamp,
}

impl Maker<'_> {
    pub(super) async fn certificate(
        &self,
        role: AuthorityRole,
        key: &PrivateKey,
        issuer: Option<&Certificate>,
        issuer_key: &PrivateKey,
    ) -> Result<Certificate, InitError> {
        let random = entropy::bytes::<SERIAL_RANDOM_BYTES>(self.entropy);
        let spec = AuthoritySpec {
            role,
            trust_domain: &self.config.trust_domain,
            public_key: key.public_key(),
            lifetime: match role {
                AuthorityRole::Root => ROOT_LIFETIME,
                AuthorityRole::Issuer => ISSUER_LIFETIME,
            },
            serial: SerialNumber::new(self.config.replica_byte, random),
            now: self.now,
        };
        let linted = lint_authority(&spec, issuer, self.caller)?;
        let recorded = self.store.record(linted).await?;
        let certificate = sign(recorded, issuer_key, Verification::Always)?;
        let der = certificate.der().to_vec();
        self.store.record_result(certificate.serial().clone(), der, self.now).await?;
        Ok(certificate)
    }

    pub(super) fn write_generation(
        &self,
        number: u32,
        issuer: &Certificate,
        key: &PrivateKey,
        root: &Certificate,
        protection: &KeyProtection,
    ) -> Result<PathBuf, InitError> {
        let directory = self.config.generations_dir();
        let generation = directory.join(generation_name(number));
        let (issuer_pem, root_pem) = (certificates_to_pem([issuer]), certificates_to_pem([root]));
        let key_pem = key.to_protected_pem(protection, &entropy::bytes(self.entropy));
        self.verify(&generation, &issuer_pem, &root_pem, &key_pem, protection)?;

        ensure_private_dir(&directory)?;
        // One writer at a time, so that what lies there unfinished is nobody's: a run that was cut short left it, with a key in it.
        let _lock = DirLock::acquire(&directory)?;
        let temporary = directory.join(UNFINISHED);
        remove_unfinished(&temporary)?;
        ensure_private_dir(&temporary)?;
        write_private(&temporary.join(CA_KEY), key_pem.as_bytes(), Overwrite::Refuse)?;
        write_public(&temporary.join(CA_CERT), issuer_pem.as_bytes(), Overwrite::Refuse)?;
        write_public(&temporary.join(ROOT_CERT), root_pem.as_bytes(), Overwrite::Refuse)?;
        // Nothing stands between the issuing CA and the root.
        write_public(&temporary.join(CERT_CHAIN), b"", Overwrite::Refuse)?;
        sync_dir(&temporary)?;
        // Fails when somebody made the same generation meanwhile: a directory that is not empty is not replaced.
        fs::rename(&temporary, &generation).map_err(|cause| InitError::Rename {
            from: temporary.clone(),
            to: generation.clone(),
            cause,
        })?;
        sync_dir(&directory)?;
        Ok(generation)
    }

    /// What is about to be written is what a start would accept.
    fn verify(
        &self,
        generation: &Path,
        issuer_pem: &str,
        root_pem: &str,
        key_pem: &str,
        protection: &KeyProtection,
    ) -> Result<(), AuthorityError> {
        let file = |name: &str, pem: &str| AuthorityFile { path: generation.join(name), content: Some(pem.as_bytes().to_vec()) };
        let files = AuthorityFiles {
            certificate: file(CA_CERT, issuer_pem),
            key: AuthorityFile {
                path: generation.join(CA_KEY),
                content: Some(PrivatePem(Zeroizing::new(key_pem.as_bytes().to_vec()))),
            },
            chain: Some(file(CERT_CHAIN, "")),
            roots: file(ROOT_CERT, root_pem),
            protection: protection.clone(),
        };
        SigningAuthority::verify(files, &self.config.trust_domain, self.now).map(|_| ())
    }
}

fn remove_unfinished(temporary: &Path) -> Result<(), InitError> {
    match fs::remove_dir_all(temporary) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => Err(InitError::Unfinished { path: temporary.to_owned(), cause }),
        _ => Ok(()),
    }
}
