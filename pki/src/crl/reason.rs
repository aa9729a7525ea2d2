//! Why a certificate is revoked (RFC 5280 section 5.3.1).

use std::fmt;
use std::str::FromStr;

/// Why, as far as a CA of workloads has reasons. A hold, and what takes one back, are not among them: a serial that was revoked stays so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RevocationReason {
    /// None is given. A list then has no code.
    #[default]
    Unspecified,
    /// Somebody else may have the certificate's key.
    KeyCompromise,
    /// Somebody else may have the key of a CA.
    CaCompromise,
    /// What the certificate says of its holder holds no more.
    AffiliationChanged,
    /// Another certificate stands in its place.
    Superseded,
    /// It is needed no more.
    CessationOfOperation,
    /// The holder may no longer have it.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// Its code in a list.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
        }
    }

    /// Lower snake case, such as `key_compromise`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key_compromise",
            Self::CaCompromise => "ca_compromise",
            Self::AffiliationChanged => "affiliation_changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation_of_operation",
            Self::PrivilegeWithdrawn => "privilege_withdrawn",
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text is no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no reason for a revocation has this name")]
pub struct UnknownReason;

impl FromStr for RevocationReason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text).ok_or(UnknownReason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_one_name_and_the_code_of_the_standard() {
        for reason in RevocationReason::ALL {
            assert_eq!(reason.to_string().parse(), Ok(reason));
        }
        let codes = RevocationReason::ALL.map(RevocationReason::code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 9]);
        assert_eq!("Superseded".parse::<RevocationReason>(), Err(UnknownReason));
    }
}
