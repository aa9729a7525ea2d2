//! Which objects are meant, by their labels, as `kubectl -l` takes it: requirements between commas, all of which must be met. Pure.

use std::collections::BTreeMap;

/// The longest selector, in bytes, and the longest key and value of a label.
const MAX_SELECTOR_BYTES: usize = 1024;
const MAX_KEY_BYTES: usize = 317;
const MAX_VALUE_BYTES: usize = 63;

/// Requirements on labels. Not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Is(String, String),
    IsNot(String, String),
    Has(String),
    HasNot(String),
}

impl LabelSelector {
    /// Reads `key=value` (or `==`), `key!=value`, `key` and `!key`, between commas. Sets (`in`, `notin`) are not taken.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_SELECTOR_BYTES {
            return Err(format!("longer than {MAX_SELECTOR_BYTES} bytes"));
        }
        text.split(',').map(|one| requirement(one.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether labels meet all requirements. `key!=value` is met by labels without that key too, as Kubernetes has it.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::Is(key, value) => labels.get(key) == Some(value),
            Requirement::IsNot(key, value) => labels.get(key) != Some(value),
            Requirement::Has(key) => labels.contains_key(key),
            Requirement::HasNot(key) => !labels.contains_key(key),
        })
    }
}

fn requirement(text: &str) -> Result<Requirement, String> {
    // The longer signs first.
    for (sign, is) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((key, value)) = text.split_once(sign) {
            let (key, value) = (read_key(key.trim())?, read_value(value.trim())?);
            return Ok(if is { Requirement::Is(key, value) } else { Requirement::IsNot(key, value) });
        }
    }
    match text.strip_prefix('!') {
        Some(key) => Ok(Requirement::HasNot(read_key(key.trim())?)),
        None => Ok(Requirement::Has(read_key(text)?)),
    }
}

fn read_key(text: &str) -> Result<String, String> {
    let is_good =
        (1..=MAX_KEY_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
    if is_good { Ok(text.to_owned()) } else { Err(format!("{text:?} is not the key of a label")) }
}

fn read_value(text: &str) -> Result<String, String> {
    let is_good = text.len() <= MAX_VALUE_BYTES && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if is_good { Ok(text.to_owned()) } else { Err(format!("{text:?} is not the value of a label")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_requirements_must_be_met_as_kubernetes_reads_them() {
        let labels = BTreeMap::from([("team".to_owned(), "shop".to_owned()), ("istio.io/rev".to_owned(), String::new())]);
        for (selector, expected) in [
            ("team=shop", true),
            ("team == shop", true),
            ("team=other", false),
            ("team!=other", true),
            ("team!=shop", false),
            ("missing!=shop", true),
            ("istio.io/rev", true),
            ("istio.io/rev=", true),
            ("missing", false),
            ("!missing", true),
            ("!team", false),
            ("team=shop,!missing", true),
            ("team=shop, missing", false),
        ] {
            assert_eq!(LabelSelector::parse(selector).unwrap().matches(&labels), expected, "{selector}");
        }
        for bad in ["", ",", "team=shop,", "a b", "team in (shop)", "=", "!", "team=a=b", &"a".repeat(318), &"a,".repeat(600)] {
            assert!(LabelSelector::parse(bad).is_err(), "{bad}");
        }
    }
}
