//! Service accounts as a policy names them: Istio AuthorizationPolicy `source.serviceAccounts`.

use std::fmt;

/// `account` in the namespace of the policy, or `namespace/account`. Compared as fields and never as a pattern, in any trust domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountPattern {
    namespace: Option<String>,
    account: String,
}

/// Why a text names no service account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountPatternError {
    /// Over 320 characters.
    #[error("a service account has at most 320 characters")]
    TooLong,
    /// A star, which is no pattern here.
    #[error("a service account is named in full; \"*\" is no pattern here")]
    Star,
    /// More than one slash.
    #[error("a service account is written \"account\" or \"namespace/account\"")]
    Slashes,
    /// Nothing stands before or behind the slash, or nothing at all.
    #[error("the service account or its namespace is empty")]
    Empty,
}

const LONGEST: usize = 320;

impl AccountPattern {
    /// Parses `account` or `namespace/account`.
    ///
    /// # Errors
    /// [`AccountPatternError`] naming the fault.
    pub fn parse(text: &str) -> Result<Self, AccountPatternError> {
        if text.len() > LONGEST {
            return Err(AccountPatternError::TooLong);
        }
        if text.contains('*') {
            return Err(AccountPatternError::Star);
        }
        let (namespace, account) = match text.split_once('/') {
            Some((namespace, account)) => (Some(namespace), account),
            None => (None, text),
        };
        if account.contains('/') {
            return Err(AccountPatternError::Slashes);
        }
        if account.is_empty() || namespace == Some("") {
            return Err(AccountPatternError::Empty);
        }
        Ok(Self { namespace: namespace.map(str::to_owned), account: account.to_owned() })
    }

    /// Whether it names this account of this namespace, for a policy of `own_namespace`.
    #[must_use]
    pub fn names(&self, own_namespace: &str, namespace: &str, account: &str) -> bool {
        self.namespace.as_deref().unwrap_or(own_namespace) == namespace && self.account == account
    }

    /// As `namespace/account`, for a policy of `own_namespace`.
    pub(crate) fn qualified(&self, own_namespace: &str) -> String {
        format!("{}/{}", self.namespace.as_deref().unwrap_or(own_namespace), self.account)
    }
}

impl fmt::Display for AccountPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.account),
            None => f.write_str(&self.account),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_itself_in_one_namespace() {
        let own = AccountPattern::parse("a.b").unwrap();
        let other = AccountPattern::parse("bar/a.b").unwrap();
        for (pattern, namespace, account, expected) in [
            (&own, "foo", "a.b", true),
            (&own, "foo", "axb", false),
            (&own, "foo", "a.bc", false),
            (&own, "bar", "a.b", false),
            (&other, "bar", "a.b", true),
            (&other, "foo", "a.b", false),
        ] {
            assert_eq!(pattern.names("foo", namespace, account), expected, "{pattern} {namespace} {account}");
        }
    }

    #[test]
    fn refuses_each_fault_by_its_own_error() {
        use AccountPatternError as E;
        for (text, error) in
            [("", E::Empty), ("/a", E::Empty), ("a/", E::Empty), ("a/b/c", E::Slashes), ("a*", E::Star), ("*/a", E::Star)]
        {
            assert_eq!(AccountPattern::parse(text), Err(error), "{text}");
        }
        assert_eq!(AccountPattern::parse(&"a".repeat(321)), Err(E::TooLong));
        assert!(AccountPattern::parse(&"a".repeat(320)).is_ok());
    }
}
