//! Questions about pods: one of them, and lists of them, read part by part.

use std::fmt::Write;
use std::time::Duration;

use crate::client::Question;
use crate::names::{is_label, is_name};
use crate::pods::{Pod, PodList, PodPage, PodScope};
use crate::{ApiError, Call, KubernetesClient};

/// Where they are.
pub(crate) const PATH: &str = "/api/v1/pods";
/// The most pods of a list. The largest clusters that Kubernetes is made for have 150,000.
pub(crate) const MAX_PODS: usize = 200_000;
/// The most bytes of one pod. What etcd takes of one, 1.5 MiB, can be six times as long in JSON.
const MAX_POD_BYTES: usize = 16 * 1024 * 1024;
/// The most bytes of a part of a list: some pods of the largest kind, or many of the usual one.
const MAX_PAGE_BYTES: usize = 2 * MAX_POD_BYTES;
/// Pods of a part, at most.
const MAX_PAGE_PODS: usize = 500;
/// The time for one part.
const PAGE_DEADLINE: Duration = Duration::from_secs(20);

impl KubernetesClient {
    /// The pod of this name as it is now, by a read that sees everything that was written before it. `None` when there is none.
    /// The whole call takes `deadline` at most.
    ///
    /// # Errors
    /// [`ApiError`]: there is no answer, or the names are none.
    pub async fn pod(&self, namespace: &str, name: &str, deadline: Duration) -> Result<Option<Pod>, ApiError> {
        let call = Call::GetPod;
        if !is_label(namespace) || !is_name(name) {
            return Err(ApiError::Name { call, what: "a pod" });
        }
        let target = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let answer = match self.ask(Question::get(call, target, MAX_POD_BYTES), deadline).await {
            Ok(answer) => read_pod(&answer, namespace, name).map(Some),
            Err(ApiError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        };
        self.metrics().count(call, &answer);
        answer
    }

    /// All pods of a scope as they are now, by a read that sees everything that was written before it. It is read in parts, which are
    /// made smaller where pods are large, and once from its beginning again when the server cannot go on with it. All of it takes
    /// `deadline` at most.
    ///
    /// # Errors
    /// [`ApiError`]: not all of them are known.
    pub async fn pods(&self, scope: &PodScope, deadline: Duration) -> Result<PodList, ApiError> {
        let ends = self.boottime().saturating_add(deadline);
        match self.list(scope, ends, deadline).await {
            // What the parts so far are of is not known any more.
            Err(ApiError::Expired { .. }) => self.list(scope, ends, deadline).await,
            outcome => outcome,
        }
    }

    /// `ends` is in time since boot.
    async fn list(&self, scope: &PodScope, ends: Duration, deadline: Duration) -> Result<PodList, ApiError> {
        let call = Call::ListPods;
        let scope = scope.query(call)?;
        let (mut list, mut size) = (PodList { pods: Vec::new(), version: String::new() }, MAX_PAGE_PODS);
        let mut next: Option<String> = None;
        loop {
            let mut target = format!("{PATH}?limit={size}{scope}");
            if let Some(next) = &next {
                target.push_str("&continue=");
                push_encoded(&mut target, next);
            }
            let left = ends.saturating_sub(self.boottime());
            if left.is_zero() {
                return Err(ApiError::Deadline { call, after: deadline });
            }
            let page = self.page(target, left.min(PAGE_DEADLINE)).await;
            self.metrics().count(call, &page);
            match page {
                Err(ApiError::TooLarge { .. }) if size > 1 => size = (size / 4).max(1),
                Err(error) => return Err(error),
                Ok(PodPage { pods, version, next: rest }) => {
                    // Every part is of the moment of the first.
                    if list.version.is_empty() {
                        list.version = version;
                    }
                    list.pods.extend(pods);
                    if list.pods.len() > MAX_PODS {
                        return Err(ApiError::TooMany { call, max: MAX_PODS });
                    }
                    if rest.is_none() {
                        return Ok(list);
                    }
                    next = rest;
                    size = (size * 2).min(MAX_PAGE_PODS);
                }
            }
        }
    }

    async fn page(&self, target: String, deadline: Duration) -> Result<PodPage, ApiError> {
        let answer = self.ask(Question::get(Call::ListPods, target, MAX_PAGE_BYTES), deadline).await?;
        PodPage::read(Call::ListPods, &answer)
    }
}

fn read_pod(text: &[u8], namespace: &str, name: &str) -> Result<Pod, ApiError> {
    let malformed = |cause: String| ApiError::Malformed { call: Call::GetPod, cause };
    let pod: Pod = serde_json::from_slice(text).map_err(|error| malformed(error.to_string()))?;
    if pod.namespace == namespace && pod.name == name { Ok(pod) } else { Err(malformed("it is another pod".to_owned())) }
}

/// Adds a value to a query (RFC 3986 section 2.3).
pub(crate) fn push_encoded(query: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            query.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            _ = write!(query, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_query_stays_one() {
        let mut query = "?continue=".to_owned();
        push_encoded(&mut query, "aZ9-_.~=&# %\u{e9}");
        assert_eq!(query, "?continue=aZ9-_.~%3D%26%23%20%25%C3%A9");
    }
}
