//! JSON objects as such. What serde derives for a structure reads an array too, by position: `[]` would be one in which all is absent.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// What is read from an object, and from nothing else.
pub(crate) struct Object<T>(pub(crate) T);

/// For `deserialize_with`: the field must be there, and be an object.
pub(crate) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(content)| content)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfObject(PhantomData))
    }
}

struct OfObject<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OfObject<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Lenient {
        phase: String,
    }

    #[test]
    fn an_array_is_no_object_of_defaults() {
        assert!(serde_json::from_str::<Lenient>("[]").is_ok(), "serde reads arrays no more: this file has no reason left");
        let read = |text: &str| serde_json::from_str::<Object<Lenient>>(text).map(|Object(read)| read.phase);
        assert_eq!(read(r#"{"phase":"Running","more":[1]}"#).unwrap(), "Running");
        for bad in ["[]", r#"["Running"]"#, "null", "1", r#""Running""#, r#"{"phase":1}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
