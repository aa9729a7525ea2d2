//! The names by which Secrets of accounts are known, as Citadel gave them: whoever mounted those can mount these. Pure.

use kubernetes::names::is_name;

/// The type of such a Secret, by which the API server selects them. It never changes.
pub(crate) const SECRET_TYPE: &str = "istio.io/key-and-cert";
/// The annotation that names the account.
pub(crate) const ACCOUNT_ANNOTATION: &str = "istio.io/service-account.name";
/// Under which name fields are written. Whatever bears it was written by a CA of ours, and nothing else is touched.
pub(crate) const FIELD_MANAGER: &str = "signet-secrets";
/// Leaf and intermediates.
pub(crate) const CHAIN_FILE: &str = "cert-chain.pem";
/// The private key, PKCS#8.
pub(crate) const KEY_FILE: &str = "key.pem";
/// The trust bundle.
pub(crate) const ROOTS_FILE: &str = "root-cert.pem";

/// What comes before the name of the account.
const PREFIX: &str = "istio.";
/// The longest account whose Secret has a name: a name has 253 bytes at most.
pub(crate) const MAX_ACCOUNT_BYTES: usize = 253 - PREFIX.len();

/// The name of an account's Secret; `None` when it would be too long for one.
pub(crate) fn secret_name(account: &str) -> Option<String> {
    (account.len() <= MAX_ACCOUNT_BYTES).then(|| format!("{PREFIX}{account}"))
}

/// Whose Secret one of this name would be; `None` when it is no account's.
pub(crate) fn account_of(secret: &str) -> Option<&str> {
    secret.strip_prefix(PREFIX).filter(|account| is_name(account))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_its_account_and_back_and_247_bytes_are_the_most() {
        assert_eq!(secret_name("default").as_deref(), Some("istio.default"));
        let longest = "a".repeat(247);
        let name = secret_name(&longest).unwrap();
        assert!(is_name(&name), "it is a name of Kubernetes");
        assert_eq!(account_of(&name), Some(longest.as_str()));
        assert_eq!(secret_name(&"a".repeat(248)), None);
        assert_eq!(account_of("istio.web.front"), Some("web.front"));
        for none in ["istio.", "istio", "istio-ca-secret", "default", "ISTIO.web", "istio.Web", "istio..web", "istio./web"] {
            assert_eq!(account_of(none), None, "{none}");
        }
    }
}
