//! Objects of any kind: which of them, lists of them, and what a watch says of them. Pure.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::object::{Object, object};
use crate::{ApiError, Call, Kind, Message};

/// The longest version of an object, and the longest token by which a list goes on, in bytes.
const MAX_VERSION_BYTES: usize = 256;
const MAX_CONTINUE_BYTES: usize = 1536;

/// An object of one kind, read by the fields that count.
pub trait Resource: DeserializeOwned + Send {
    /// What it is to the API server.
    const KIND: Kind;
    /// Whether only the metadata of such an object are asked for (`PartialObjectMetadata` of `meta.k8s.io/v1`).
    const IS_METADATA_ONLY: bool = false;
    /// The most that are read of a list.
    const MOST: usize;

    /// The version of the object: opaque, never empty.
    fn version(&self) -> &str;
}

/// Which objects of a kind: a path, and the part of a query that narrows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection<T> {
    pub(crate) path: String,
    /// Empty, or `&name=value` with nothing left to encode.
    pub(crate) query: String,
    of: PhantomData<fn() -> T>,
}

/// Objects, all as they were at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectList<T> {
    /// The objects.
    pub objects: Vec<T>,
    /// The moment, as a version from which a watch goes on.
    pub version: String,
}

/// What a watch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectEvent<T> {
    /// There is an object, or it has changed.
    Applied(T),
    /// It is gone, or is none of the selection any more; as it was last.
    Deleted(T),
    /// Nothing else happened up to this version.
    Bookmark(String),
    /// What happened since the version asked for is not known any more (410): list anew.
    Expired(Message),
    /// The watch failed.
    Failed(Message),
}

/// One part of a list.
pub(crate) struct Page<T> {
    pub(crate) objects: Vec<T>,
    pub(crate) version: String,
    /// By what the next part is asked for; `None` at the end.
    pub(crate) next: Option<String>,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct RawPage<T> {
    #[serde(deserialize_with = "object")]
    metadata: RawPageMetadata,
    #[serde(deserialize_with = "items")]
    items: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPageMetadata {
    resource_version: String,
    r#continue: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE", bound = "T: DeserializeOwned")]
enum RawEvent<T> {
    Added(T),
    Modified(T),
    Deleted(T),
    Bookmark(Object<RawBookmark>),
    Error(Object<RawError>),
}

#[derive(Deserialize)]
struct RawBookmark {
    #[serde(deserialize_with = "object")]
    metadata: RawVersion,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawVersion {
    resource_version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawError {
    code: u16,
    message: String,
}

impl<T> Selection<T> {
    /// `path` and `query` come from checked names alone.
    pub(crate) fn new(path: String, query: String) -> Self {
        Self { path, query, of: PhantomData }
    }
}

impl<T: Resource> Page<T> {
    pub(crate) fn read(text: &[u8]) -> Result<Self, ApiError> {
        let call = Call::List(T::KIND);
        let Object(RawPage { metadata, items: objects }) =
            serde_json::from_slice(text).map_err(|error| malformed(call, &error))?;
        let RawPageMetadata { resource_version: version, r#continue: next } = metadata;
        let next = next.filter(|next| !next.is_empty());
        if !is_version(&version) || next.as_ref().is_some_and(|next| next.len() > MAX_CONTINUE_BYTES) {
            return Err(malformed(call, &"the version of a list, or what goes on with it, is none"));
        }
        Ok(Self { objects, version, next })
    }
}

impl<T: Resource> ObjectEvent<T> {
    /// Reads one line of a watch.
    pub(crate) fn read(line: &[u8]) -> Result<Self, ApiError> {
        let call = Call::Watch(T::KIND);
        let Object(event) = serde_json::from_slice(line).map_err(|error| malformed(call, &error))?;
        match event {
            RawEvent::Added(object) | RawEvent::Modified(object) => Ok(Self::Applied(object)),
            RawEvent::Deleted(object) => Ok(Self::Deleted(object)),
            RawEvent::Bookmark(Object(RawBookmark { metadata: RawVersion { resource_version } })) => {
                let is_good = is_version(&resource_version);
                is_good
                    .then_some(Self::Bookmark(resource_version))
                    .ok_or_else(|| malformed(call, &"the version of a bookmark is none"))
            }
            RawEvent::Error(Object(RawError { code: 410, message })) => Ok(Self::Expired(Message::of(&message))),
            RawEvent::Error(Object(RawError { code: _, message })) => Ok(Self::Failed(Message::of(&message))),
        }
    }
}

/// Whether this can be the version of an object: 1 to 256 printable bytes without a space.
pub(crate) fn is_version(text: &str) -> bool {
    (1..=MAX_VERSION_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The field must be there; Go writes `null` for a list of nothing.
fn items<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn malformed(call: Call, cause: &impl ToString) -> ApiError {
    ApiError::Malformed { call, cause: cause.to_string() }
}
