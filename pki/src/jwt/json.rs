//! JSON that has one reading: an object without repeated members (RFC 7515 section 4, RFC 7519 section 4), not nested deeper
//! than any token or key set needs, and nothing behind it.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Deserializer, Map, Number, Value};

/// How deep arrays and objects may be nested, the outermost one included.
const MAX_DEPTH: u32 = 12;

/// Why bytes are not one JSON object that may be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// Not JSON in UTF-8, or a number that cannot be represented.
    #[error("it is not JSON: {reason}")]
    Syntax {
        /// The parser's word for it.
        reason: String,
    },
    /// JSON, but no object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// A member stands twice in an object, so that two readers could see two values.
    #[error("the member {name:?} stands in it twice")]
    Repeated {
        /// Its name, cut to 64 characters.
        name: String,
    },
    /// Too deep.
    #[error("it is nested more than {MAX_DEPTH} deep")]
    Depth,
}

/// Reads exactly one object.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonFault> {
    let fault = RefCell::new(None);
    let mut source = Deserializer::from_slice(bytes);
    let read = Strict { depth: 0, fault: &fault }.deserialize(&mut source).and_then(|value| source.end().map(|()| value));
    match (read, fault.into_inner()) {
        (Ok(Value::Object(object)), None) => Ok(object),
        (Ok(_), None) => Err(JsonFault::NotAnObject),
        (_, Some(fault)) => Err(fault),
        (Err(error), None) => Err(JsonFault::Syntax { reason: error.to_string() }),
    }
}

/// One value at a depth. What is wrong is kept aside, since the parser's errors are text.
#[derive(Clone, Copy)]
struct Strict<'f> {
    depth: u32,
    fault: &'f RefCell<Option<JsonFault>>,
}

impl Strict<'_> {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth < MAX_DEPTH { Ok(Self { depth: self.depth + 1, ..self }) } else { Err(self.refuse(JsonFault::Depth)) }
    }

    fn refuse<E: serde::de::Error>(self, fault: JsonFault) -> E {
        let error = E::custom(&fault);
        self.fault.replace(Some(fault));
        error
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = source.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut members = Map::new();
        while let Some(name) = source.next_key::<String>()? {
            if members.contains_key(&name) {
                let name = name.chars().take(64).collect();
                return Err(self.refuse(JsonFault::Repeated { name }));
            }
            let value = source.next_value_seed(inner)?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> String {
        format!("{{\"a\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1))
    }

    #[test]
    fn one_object_with_one_reading() {
        let text = r#" {"a": [true, null, -1, 1.5, "é"], "b": {"a": 18446744073709551615}} "#;
        assert_eq!(Value::Object(object(text.as_bytes()).unwrap()), serde_json::from_str::<Value>(text).unwrap());
        let repeated = |name: &str| JsonFault::Repeated { name: name.to_owned() };
        for (text, fault) in [
            (r#"{"a":1,"a":1}"#, repeated("a")),
            (r#"{"a":1,"\u0061":2}"#, repeated("a")),
            (r#"{"b":[{"c":1,"c":1}]}"#, repeated("c")),
            ("[]", JsonFault::NotAnObject),
            ("\"a\"", JsonFault::NotAnObject),
            (&nested(13), JsonFault::Depth),
            (&nested(10_000), JsonFault::Depth),
        ] {
            assert_eq!(object(text.as_bytes()), Err(fault), "{text:.40}");
        }
        assert!(object(nested(12).as_bytes()).is_ok());
        for text in [
            &b"{} {}"[..],
            b"{\"a\":1,}",
            b"{\"a\":1e999}",
            b"{\"a\":\"\xff\"}",
            b"",
            b"{'a':1}",
            b"\xef\xbb\xbf{}",
            b"{\"a\":NaN}",
        ] {
            assert!(matches!(object(text), Err(JsonFault::Syntax { .. })), "{text:?}");
        }
    }
}
