//! What a backup says of itself before anything else: what was saved, when, and how far the CA was.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The file of the store in a backup, the first and the only one without a bound.
pub(super) const STORE: &str = "store.db";

/// More than the manifest of any CA, in bytes.
pub(super) const MAX_MANIFEST_BYTES: usize = 1024 * 1024;
/// More files than any CA has.
const MAX_FILES: usize = 1024;
/// More than any key, certificate, chain or imported list, in bytes.
pub(super) const MAX_FILE_BYTES: usize = 256 * 1024;
/// More than any store, in bytes: what a backup says of itself must not make a sum overflow.
const MAX_STORE_BYTES: u64 = 1 << 50;

/// What is in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The trust domain of the CA.
    pub trust_domain: String,
    /// The release that made it.
    pub build: String,
    /// When it was made, in Unix seconds by that CA's clock.
    pub made_at: u64,
    /// Whether the CA was running then.
    pub was_running: bool,
    /// The version of the store's schema.
    pub schema: usize,
    /// The sequence of the last event of the audit chain.
    pub events: u64,
    /// The hash of that event, lower-case hex.
    pub head: String,
    /// The newest checkpoint, as a document; `None` before the first.
    pub checkpoint: Option<String>,
    /// The latest issuance on record, in Unix seconds.
    pub latest_issuance: u64,
    /// The sequence of the newest trust bundle; `None` before the first.
    pub bundle_sequence: Option<u64>,
    /// The CA's authorities that are in force, and where their keys lie.
    pub authorities: Vec<BackedUpAuthority>,
    /// The directory of a plugged-in authority, which is not in the backup; `None`: the CA has its own.
    pub plugged_in: Option<String>,
    /// What follows, in this order: the store first.
    pub files: Vec<BackedUpFile>,
}

/// An authority as a backup has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackedUpAuthority {
    /// Such as `root-2`.
    pub name: String,
    /// Such as `active`.
    pub slot: String,
    /// SHA-256 of the SubjectPublicKeyInfo of its key, lower-case hex.
    pub key: String,
    /// Where its private key is.
    pub place: KeyPlace,
}

/// Where a private key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyPlace {
    /// In the backup.
    Here,
    /// In a PKCS #11 token, which it never leaves: what backs that up backs it up.
    Token,
    /// In the memory of the CA that made it: nothing backs it up, and a start has another one.
    Memory,
    /// Where its operator keeps it: it was not in the state directory.
    Elsewhere,
}

impl KeyPlace {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Token => "token",
            Self::Memory => "memory",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// A file in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackedUpFile {
    /// Its path below the state directory.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
}

impl Manifest {
    /// Reads one, and holds what every manifest keeps.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        read.check().map(|()| read)
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts, numbers and lists of them are always JSON")
    }

    fn check(&self) -> Result<(), String> {
        if self.files.len() > MAX_FILES {
            return Err(format!("it has {} files, at most {MAX_FILES} are taken", self.files.len()));
        }
        if self.files.first().is_none_or(|first| first.path != STORE) {
            return Err("the store does not come first".to_owned());
        }
        let mut paths = BTreeSet::new();
        for BackedUpFile { path, bytes, sha256 } in &self.files {
            if !is_ours(path) || !paths.insert(path) {
                return Err(format!("{path:?} is no name of a file of a CA, or is there twice"));
            }
            let most = if path == STORE { MAX_STORE_BYTES } else { u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX) };
            if *bytes > most {
                return Err(format!("{path} would have {bytes} bytes, at most {most} are taken"));
            }
            if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
                return Err(format!("the digest of {path} is none"));
            }
        }
        Ok(())
    }
}

/// Whether this is a path that a CA has below its state directory: names that it gives, and none that leads out of it.
fn is_ours(path: &str) -> bool {
    let number = |text: &str| text.len() >= 4 && text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    let in_place = |file: &str, names: &[&str]| names.contains(&file);
    match path.split('/').collect::<Vec<_>>().as_slice() {
        [file] => in_place(file, &[STORE, "audit-key.pem", "jwt-key.pem", "root-cert.pem", "root-key.pem", "ca-crl.pem"]),
        ["jwt-keys", file] => file.strip_suffix(".pem").is_some_and(number),
        ["roots", place, file] => number(place) && in_place(file, &["root-cert.pem", "root-key.pem", "ca-crl.pem"]),
        ["authority", place, file] => {
            number(place) && in_place(file, &["ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem", "ca-crl.pem"])
        }
        _ => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::backup) fn manifest() -> Manifest {
        let file = |path: &str, bytes| BackedUpFile { path: path.to_owned(), bytes, sha256: "ab".repeat(32) };
        Manifest {
            trust_domain: "example.org".to_owned(),
            build: "0.1.0".to_owned(),
            made_at: 1_800_000_000,
            was_running: true,
            schema: 10,
            events: 20,
            head: "cd".repeat(32),
            checkpoint: None,
            latest_issuance: 1_799_999_990,
            bundle_sequence: Some(1_799_999_000),
            authorities: vec![BackedUpAuthority {
                name: "root-1".to_owned(),
                slot: "active".to_owned(),
                key: "ef".repeat(32),
                place: KeyPlace::Here,
            }],
            plugged_in: None,
            files: vec![file(STORE, 4096), file("authority/0001/ca-key.pem", 241)],
        }
    }

    #[test]
    fn what_is_written_is_read_and_anything_unknown_in_it_is_refused() {
        let good = manifest();
        assert_eq!(Manifest::from_json(&good.to_json()), Ok(good.clone()));
        let text = String::from_utf8(good.to_json()).unwrap();
        let more = text.replacen('{', "{\"more\":1,", 1);
        assert!(Manifest::from_json(more.as_bytes()).unwrap_err().contains("more"));
        assert!(Manifest::from_json(&text.as_bytes()[1..]).is_err());
    }

    #[test]
    fn no_path_leads_out_of_the_state_directory_or_to_a_place_that_a_ca_does_not_have() {
        for good in ["audit-key.pem", "jwt-keys/0002.pem", "roots/0002/root-key.pem", "authority/0010/cert-chain.pem"] {
            assert!(is_ours(good), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../root-key.pem",
            "authority/../root-key.pem",
            "authority/0001/../ca-key.pem",
            "authority/0001",
            "authority/01/ca-key.pem",
            "authority/0001/ca-key.pem/x",
            "jwt-keys/.pem",
            "jwt-keys/0001.pem/",
            "lock",
            "store.db-wal",
            "restored.json",
            "root-key.pem\0",
        ] {
            assert!(!is_ours(bad), "{bad}");
        }
    }

    #[test]
    fn files_that_repeat_are_too_long_too_many_or_begin_with_another_are_refused() {
        let refused = |change: &dyn Fn(&mut Manifest)| {
            let mut changed = manifest();
            change(&mut changed);
            Manifest::from_json(&changed.to_json()).is_err()
        };
        assert!(!refused(&|_| ()));
        assert!(!refused(&|manifest| manifest.files[1].bytes = 256 * 1024));
        assert!(refused(&|manifest| manifest.files[1].bytes = 256 * 1024 + 1));
        assert!(refused(&|manifest| manifest.files[0].bytes = MAX_STORE_BYTES + 1));
        assert!(refused(&|manifest| manifest.files.swap(0, 1)));
        assert!(refused(&|manifest| manifest.files.clear()));
        assert!(refused(&|manifest| manifest.files.push(manifest.files[1].clone())));
        assert!(refused(&|manifest| manifest.files[1].sha256 = "AB".repeat(32)));
        let numbered = |number: usize| BackedUpFile { path: format!("jwt-keys/{number:04}.pem"), ..manifest().files[1].clone() };
        assert!(!refused(&|manifest| manifest.files.extend((0..MAX_FILES - 2).map(numbered))));
        assert!(refused(&|manifest| manifest.files.extend((0..MAX_FILES - 1).map(numbered))));
    }
}
