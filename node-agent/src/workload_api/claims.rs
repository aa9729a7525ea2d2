//! Claims of a JWT as `google.protobuf.Struct`. Pure.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

/// Numbers become doubles, as the type has no others. Depth and size are bounded by what a token may hold.
pub(super) fn as_struct(claims: &serde_json::Map<String, serde_json::Value>) -> Struct {
    Struct { fields: claims.iter().map(|(name, value)| (name.clone(), as_value(value))).collect() }
}

fn as_value(value: &serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(*value),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(values) => Kind::ListValue(ListValue { values: values.iter().map(as_value).collect() }),
        serde_json::Value::Object(fields) => Kind::StructValue(as_struct(fields)),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_claim_keeps_its_value() {
        let json = serde_json::json!({ "a": null, "b": true, "c": 1.5, "d": "x", "e": [1, {"f": 1_800_000_000}] });
        let claims = as_struct(json.as_object().unwrap());
        let kind = |value: &Value| value.kind.clone().unwrap();
        let of = |name: &str| kind(&claims.fields[name]);
        assert_eq!(of("a"), Kind::NullValue(0));
        assert_eq!(of("b"), Kind::BoolValue(true));
        assert_eq!(of("c"), Kind::NumberValue(1.5));
        assert_eq!(of("d"), Kind::StringValue("x".to_owned()));
        let Kind::ListValue(list) = of("e") else { panic!("a list") };
        assert_eq!(kind(&list.values[0]), Kind::NumberValue(1.0));
        let Kind::StructValue(inner) = kind(&list.values[1]) else { panic!("an object") };
        assert_eq!(kind(&inner.fields["f"]), Kind::NumberValue(1_800_000_000.0));
    }
}
