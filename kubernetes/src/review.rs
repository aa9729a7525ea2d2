//! `TokenReview` of `authentication.k8s.io/v1`, as the fields that count.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::object::object;

/// Where it is asked.
pub(crate) const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// What the API server says of a token. What is absent in an answer is empty here, and grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenReview {
    /// Whether it knows whom the token stands for. Alone it means nothing: the audiences must fit.
    pub authenticated: bool,
    /// Those of the audiences asked for that the token is for, as a server says it that looks at audiences.
    pub audiences: Vec<String>,
    /// Whom it stands for.
    pub user: UserInfo,
    /// Why the token is not taken.
    pub error: String,
}

/// Whom a token stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserInfo {
    /// The name; that of a service account is `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
    /// Tells it from another of the same name at another time.
    pub uid: String,
    /// The groups that it is in.
    pub groups: Vec<String>,
    /// What else is known, such as the pod that the token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What is asked. Neither `Debug` nor `Clone`: it holds the token.
#[derive(Serialize)]
pub(crate) struct Question<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Spec<'a> {
    token: &'a str,
    audiences: &'a [String],
}

/// The object that is answered with.
#[derive(Deserialize)]
pub(crate) struct Answer {
    #[serde(deserialize_with = "object")]
    pub(crate) status: TokenReview,
}

impl<'a> Question<'a> {
    pub(crate) fn new(token: &'a str, audiences: &'a [String]) -> Self {
        Self { api_version: "authentication.k8s.io/v1", kind: "TokenReview", spec: Spec { token, audiences } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_by_the_fields_that_count_and_what_is_absent_grants_nothing() {
        let text = r#"{"kind":"TokenReview","metadata":{},"spec":{"token":"x"},"status":{"authenticated":true,"audiences":["istio-ca"],
            "user":{"username":"system:serviceaccount:shop:web","uid":"1","groups":["system:serviceaccounts"],
            "extra":{"authentication.kubernetes.io/pod-name":["web-1"]}}}}"#;
        let review = serde_json::from_str::<Answer>(text).unwrap().status;
        assert!(review.authenticated);
        assert_eq!(review.audiences, ["istio-ca"]);
        assert_eq!(review.user.extra["authentication.kubernetes.io/pod-name"], ["web-1"]);
        let refused = serde_json::from_str::<Answer>(r#"{"status":{"user":{},"error":"no"}}"#).unwrap().status;
        assert_eq!(refused, TokenReview { error: "no".to_owned(), ..TokenReview::default() });
        for bad in [
            "{}",
            r#"{"status":{"authenticated":"yes"}}"#,
            r#"{"status":{"audiences":"istio-ca"}}"#,
            r#"{"status":[true]}"#,
            "[]",
            "null",
        ] {
            assert!(serde_json::from_str::<Answer>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_question_names_the_token_and_the_audiences() {
        let audiences = ["istio-ca".to_owned()];
        let text = serde_json::to_string(&Question::new("a.b.c", &audiences)).unwrap();
        let want =
            r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"a.b.c","audiences":["istio-ca"]}}"#;
        assert_eq!(text, want);
    }
}
