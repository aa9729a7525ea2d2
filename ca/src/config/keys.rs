//! `[keys]`: where private keys are made, and how they lie there.

use std::time::Duration;

use pkcs11::{MAX_SESSIONS, TokenConfig};
use runtime::config::{Section, absolute_path};
use runtime::secret_source::SecretSource;

use crate::key_file;

/// Sessions of a token when none are configured.
const DEFAULT_SESSIONS: i64 = 4;
/// For how long a token is waited for: far longer than a signature takes, and shorter than agents wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest label of a token (PKCS #11 section 3.2).
const MAX_LABEL_BYTES: usize = 32;

/// Where new keys of authorities are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStore {
    /// In files.
    File,
    /// In the token of `[keys.pkcs11]`, which they never leave.
    Token,
    /// In the memory of the running CA: a start has upstream sign another issuing CA.
    Memory,
}

/// What `[keys]` says.
pub(super) struct KeysConfig {
    pub(super) passphrase: Option<SecretSource>,
    pub(super) store: KeyStore,
    pub(super) token: Option<TokenConfig>,
}

/// Reads the table. `has_upstream`: somebody else signs the issuing CAs.
pub(super) fn read(section: &Section<'_>, has_upstream: bool) -> KeysConfig {
    let passphrase = key_file::read_config(section);
    let store = section.optional("store", |text| match text {
        "file" => Ok(KeyStore::File),
        "pkcs11" => Ok(KeyStore::Token),
        "memory" => Ok(KeyStore::Memory),
        other => Err(format!("\"{other}\" is not \"file\", \"pkcs11\" or \"memory\"")),
    });
    let store = store.unwrap_or(KeyStore::File);
    let has_token = section.has("pkcs11");
    if store == KeyStore::Token && !has_token {
        section.fault("store", "\"pkcs11\" needs a table [keys.pkcs11] with module, token, and pin_file or pin_credential");
    }
    if store == KeyStore::Memory && !has_upstream {
        section.fault(
            "store",
            "with \"memory\" the issuing CA is gone with the process, so that each start needs an [upstream] which signs another one; without \
             one keys are made by \"file\" or \"pkcs11\"",
        );
    }
    if store == KeyStore::Memory && has_token {
        section.fault("pkcs11", "no key is made in the token with store = \"memory\": take one of both out");
    }
    let token = has_token.then(|| read_token(&section.section("pkcs11"))).flatten();
    KeysConfig { passphrase, store, token }
}

fn read_token(section: &Section<'_>) -> Option<TokenConfig> {
    let module = section.required("module", absolute_path);
    let token = section.required("token", |text| {
        let is_label = (1..=MAX_LABEL_BYTES).contains(&text.len()) && !text.ends_with(' ');
        if is_label { Ok(text.to_owned()) } else { Err("a label of a token has 1 to 32 bytes and does not end in a space") }
    });
    let pin = SecretSource::from_config(section, "pin_file", "pin_credential");
    if pin.is_none() {
        section.fault("pin_file", "the token asks for a PIN: name its file, or a credential in pin_credential");
    }
    let sessions = section.integer("sessions", 1..=i64::try_from(MAX_SESSIONS).unwrap_or(i64::MAX)).unwrap_or(DEFAULT_SESSIONS);
    Some(TokenConfig { module: module?, token: token?, pin: pin?, sessions: usize::try_from(sessions).ok()?, patience: PATIENCE })
}

#[cfg(test)]
mod tests {
    use super::super::CaConfig;
    use super::KeyStore;

    const HEAD: &str =
        "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nlisten = \"127.0.0.1:0\"\n[keys]\nstore = \"memory\"\n";
    const UPSTREAM: &str =
        "[upstream]\nkind = \"signet\"\n[upstream.signet]\naddress = \"parent.example:8443\"\ndirectory = \"/identity\"\n";

    #[test]
    fn keys_are_in_memory_only_where_each_start_gets_another_issuing_ca() {
        let good = format!("{HEAD}{UPSTREAM}");
        assert_eq!(CaConfig::parse("f", &good).unwrap().key_store, KeyStore::Memory);
        for (text, told) in [
            (HEAD.to_owned(), "keys.store: with \"memory\" the issuing CA is gone with the process"),
            (format!("{HEAD}[authority]\ndirectory = \"/etc/cacerts\"\n"), "each start needs an [upstream]"),
            (
                format!("{HEAD}{UPSTREAM}[keys.pkcs11]\nmodule = \"/m.so\"\ntoken = \"t\"\npin_file = \"/pin\"\n"),
                "keys.pkcs11: no key is made in the token",
            ),
            (good.replace("memory", "memroy"), "is not \"file\", \"pkcs11\" or \"memory\""),
        ] {
            let faults = CaConfig::parse("f", &text).unwrap_err().to_string();
            assert!(faults.contains(told), "{told} in {faults}");
        }
    }
}
