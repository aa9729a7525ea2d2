//! Lists of objects, read part by part.

use std::fmt::Write;
use std::time::Duration;

use http::HeaderValue;

use crate::client::Question;
use crate::objects::Page;
use crate::{ApiError, Call, KubernetesClient, ObjectList, Resource, Selection};

/// The most bytes of one object. What etcd takes of one, 1.5 MiB, can be six times as long in JSON.
const MAX_OBJECT_BYTES: usize = 16 * 1024 * 1024;
/// The most bytes of a part of a list: some objects of the largest kind, or many of the usual one.
const MAX_PAGE_BYTES: usize = 2 * MAX_OBJECT_BYTES;
/// Objects of a part, at most.
const MAX_PAGE_OBJECTS: usize = 500;
/// Asks for a list of metadata alone. A server that cannot give it answers 406, and no object is read whole instead.
const METADATA_LIST: HeaderValue = HeaderValue::from_static("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
/// The time for one part.
const PAGE_DEADLINE: Duration = Duration::from_secs(20);

impl KubernetesClient {
    /// All objects of a selection as they are now, by a read that sees everything that was written before it. It is read in parts, which
    /// are made smaller where objects are large, and once from its beginning again when the server cannot go on with it. All of it takes
    /// `deadline` at most.
    ///
    /// # Errors
    /// [`ApiError`]: not all of them are known.
    pub async fn list<T: Resource>(&self, selection: &Selection<T>, deadline: Duration) -> Result<ObjectList<T>, ApiError> {
        let ends = self.boottime().saturating_add(deadline);
        match self.list_until(selection, ends, deadline).await {
            // What the parts so far are of is not known any more.
            Err(ApiError::Expired { .. }) => self.list_until(selection, ends, deadline).await,
            outcome => outcome,
        }
    }

    /// `ends` is in time since boot.
    async fn list_until<T: Resource>(
        &self,
        Selection { path, query, .. }: &Selection<T>,
        ends: Duration,
        deadline: Duration,
    ) -> Result<ObjectList<T>, ApiError> {
        let call = Call::List(T::KIND);
        let (mut list, mut size) = (ObjectList { objects: Vec::new(), version: String::new() }, MAX_PAGE_OBJECTS);
        let mut next: Option<String> = None;
        loop {
            let mut target = format!("{path}?limit={size}{query}");
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
                Ok(Page { objects, version, next: rest }) => {
                    // Every part is of the moment of the first.
                    if list.version.is_empty() {
                        list.version = version;
                    }
                    list.objects.extend(objects);
                    if list.objects.len() > T::MOST {
                        return Err(ApiError::TooMany { call, max: T::MOST });
                    }
                    if rest.is_none() {
                        return Ok(list);
                    }
                    next = rest;
                    size = (size * 2).min(MAX_PAGE_OBJECTS);
                }
            }
        }
    }

    async fn page<T: Resource>(&self, target: String, deadline: Duration) -> Result<Page<T>, ApiError> {
        let mut question = Question::get(Call::List(T::KIND), target, MAX_PAGE_BYTES);
        if T::IS_METADATA_ONLY {
            question = question.accepting(METADATA_LIST);
        }
        Page::read(&self.ask(question, deadline).await?)
    }
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
