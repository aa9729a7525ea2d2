//! Where a certificate comes from that its holder may renew by itself: what admitted the first one of its line, and when that was.

use pki::Timestamp;
use serde::{Deserialize, Serialize};

use crate::oidc::AdmissionSource;

/// The largest grounds, in bytes of their canonical JSON: every certificate of a line carries them in the ledger.
pub const MAX_GROUNDS_BYTES: usize = 16 * 1024;

/// What admitted the first certificate of a line. It is asked again at each renewal, under the rules of that time. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum RenewalGrounds {
    /// A bearer token of an OpenID Connect issuer.
    Token(AdmissionSource),
    /// A pod on the node of the agent that asked. Nobody renews by such a certificate: the line says when the pod was last found alive.
    LivePod(LivePod),
}

/// A pod on a node, as the API server of its cluster had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LivePod {
    /// The name that the configuration gives the cluster.
    pub cluster: String,
    /// The node, which is that of the caller.
    pub node: String,
    /// Namespace, name and UID.
    pub pod: String,
}

/// Why grounds are not recorded, or not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroundsError {
    /// Over [`MAX_GROUNDS_BYTES`].
    #[error("what is to be recorded of the caller has {found} bytes, at most {MAX_GROUNDS_BYTES} are kept")]
    TooLarge {
        /// The length met.
        found: usize,
    },
    /// None of a kind that this build knows.
    #[error("no grounds that this build knows: {0}")]
    Unreadable(String),
}

impl RenewalGrounds {
    /// Canonical JSON: one object, keys sorted, no spaces.
    ///
    /// # Errors
    /// [`GroundsError::TooLarge`].
    pub fn to_json(&self) -> Result<String, GroundsError> {
        // By way of a value, whose maps are sorted whatever the order of the fields is.
        let value = serde_json::to_value(self).map_err(|error| GroundsError::Unreadable(error.to_string()))?;
        let text = value.to_string();
        if text.len() > MAX_GROUNDS_BYTES { Err(GroundsError::TooLarge { found: text.len() }) } else { Ok(text) }
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// [`GroundsError`]; grounds of another build are never taken for some of this.
    pub fn from_json(text: &str) -> Result<Self, GroundsError> {
        if text.len() > MAX_GROUNDS_BYTES {
            return Err(GroundsError::TooLarge { found: text.len() });
        }
        serde_json::from_str(text).map_err(|error| GroundsError::Unreadable(error.to_string()))
    }
}

/// The line of a certificate that is renewed on the grounds of the first one, recorded with each of its certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// What admitted the first one.
    pub grounds: RenewalGrounds,
    /// When the first one was issued, on what was known then. The age of the line counts from here, however often it was renewed.
    pub line_start: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grounds(subject: &str) -> RenewalGrounds {
        let claim = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        RenewalGrounds::Token(AdmissionSource {
            issuer: "https://issuer.example".to_owned(),
            audiences: vec!["signet".to_owned()],
            claims: [claim("sub", subject), claim("env", "b")].into(),
        })
    }

    #[test]
    fn the_text_of_grounds_is_canonical_and_reads_back() {
        let grounds = grounds("s");
        let text = grounds.to_json().unwrap();
        let want = r#"{"audiences":["signet"],"by":"token","claims":{"env":"b","sub":"s"},"issuer":"https://issuer.example"}"#;
        assert_eq!(text, want);
        assert_eq!(RenewalGrounds::from_json(&text), Ok(grounds));
    }

    #[test]
    fn a_pod_as_grounds_reads_back_whole_or_not_at_all() {
        let pod = LivePod { cluster: "east".to_owned(), node: "n1".to_owned(), pod: "shop/web-1 u1".to_owned() };
        let grounds = RenewalGrounds::LivePod(pod);
        let text = grounds.to_json().unwrap();
        assert_eq!(text, r#"{"by":"live_pod","cluster":"east","node":"n1","pod":"shop/web-1 u1"}"#);
        assert_eq!(RenewalGrounds::from_json(&text), Ok(grounds));
        for (from, to) in [(r#""node":"n1","#, ""), (r#""node""#, r#""more":1,"node""#)] {
            assert!(matches!(RenewalGrounds::from_json(&text.replace(from, to)), Err(GroundsError::Unreadable(_))), "{to}");
        }
    }

    #[test]
    fn grounds_of_another_kind_or_with_more_in_them_or_too_large_are_not_read() {
        let good = grounds("s").to_json().unwrap();
        for (from, to) in [("\"token\"", "\"cloud\""), ("\"issuer\"", "\"more\":1,\"issuer\""), ("\"issuer\"", "\"isser\"")] {
            let error = RenewalGrounds::from_json(&good.replace(from, to)).unwrap_err();
            assert!(matches!(error, GroundsError::Unreadable(_)), "{to}: {error}");
        }
        let long = grounds(&"x".repeat(MAX_GROUNDS_BYTES));
        assert!(matches!(long.to_json(), Err(GroundsError::TooLarge { .. })));
        let padded = format!("{good}{}", " ".repeat(MAX_GROUNDS_BYTES));
        assert!(matches!(RenewalGrounds::from_json(&padded), Err(GroundsError::TooLarge { .. })));
    }
}
