//! What the writer of an unknown key may have meant.

use std::collections::{BTreeMap, BTreeSet};

/// ` (did you mean ..?)` or nothing.
pub(super) fn for_unknown(path: &str, name: &str, asked: &BTreeMap<String, BTreeSet<&'static str>>) -> String {
    // The right key under the wrong header is the usual slip in TOML: keys after a header belong to it.
    let elsewhere = asked.iter().find(|(other, keys)| other.as_str() != path && keys.contains(name));
    if let Some((other, _)) = elsewhere {
        return match other.as_str() {
            "" => " (it belongs to the top level, above the first [section])".to_owned(),
            other => format!(" (it belongs under [{other}])"),
        };
    }
    let near = asked.get(path).into_iter().flatten().map(|known| (distance(name, known), known)).min();
    match near {
        Some((distance, known)) if distance <= (name.len() / 3).max(1) => format!(" (did you mean {known:?}?)"),
        _ => String::new(),
    }
}

/// Levenshtein's distance in characters.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, from) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (from, to, expected) in
            [("", "", 0), ("abc", "abc", 0), ("listen", "lisen", 1), ("kitten", "sitting", 3), ("", "ab", 2)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }
}
