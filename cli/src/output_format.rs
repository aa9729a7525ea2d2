//! The forms of every result and of every error.

use clap::ValueEnum;
use serde_json::Value;

/// How results look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// The same document in YAML.
    Yaml,
}

impl OutputFormat {
    /// A whole result, for programs and for people who read documents; JSON for [`Self::Table`], which asks for none.
    pub(crate) fn document(self, value: &Value) -> String {
        match self {
            Self::Table | Self::Json => format!("{value:#}"),
            Self::Yaml => yaml(value),
        }
    }

    /// One of many documents, as they come: a line of JSON, or a YAML document with its separator.
    pub(crate) fn one_of_many(self, value: &Value) -> String {
        match self {
            Self::Table | Self::Json => value.to_string(),
            Self::Yaml => format!("---\n{}", yaml(value)),
        }
    }
}

/// What the serialiser cannot write is written as JSON, which is YAML too.
fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).map_or_else(|_| value.to_string(), |text| text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_says_what_json_says() {
        let value = json!({ "id": "spiffe://t/web", "count": 2, "none": null, "list": ["a: b", "yes", "1", "- x", "line\nline"], "no": {} });
        let text = OutputFormat::Yaml.document(&value);
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, value, "{text}");
        assert!(OutputFormat::Yaml.one_of_many(&value).starts_with("---\n"));
        assert!(!OutputFormat::Json.one_of_many(&value).contains('\n'));
    }
}
