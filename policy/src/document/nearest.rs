//! The known name that was probably meant.

/// The closest of some names, if it is close enough for a slip of the keyboard.
pub(super) fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    if found.len() > 64 {
        return None;
    }
    let found = found.to_ascii_lowercase();
    let distances = known.iter().map(|name| (distance(&found, &name.to_ascii_lowercase()), *name));
    let (distance, name) = distances.min()?;
    (distance <= 1 + name.len() / 4).then_some(name)
}

/// Levenshtein's distance, in bytes.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, one) in left.bytes().enumerate() {
        let mut diagonal = above;
        let mut before = above + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(right.bytes()) {
            let replaced = diagonal + usize::from(one != other);
            diagonal = *cell;
            before = replaced.min(before + 1).min(diagonal + 1);
            *cell = before;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant_and_nothing_far_fetched() {
        let known = ["principals", "notPrincipals", "namespaces", "ipBlocks"];
        assert_eq!(nearest("principal", &known), Some("principals"));
        assert_eq!(nearest("Principals", &known), Some("principals"));
        assert_eq!(nearest("notprincipal", &known), Some("notPrincipals"));
        assert_eq!(nearest("namespcaes", &known), Some("namespaces"));
        // Three edits of ten letters are a slip, four are another word.
        assert_eq!(nearest("pincpls", &known), Some("principals"));
        assert_eq!(nearest("pinpls", &known), None);
        assert_eq!(nearest("hosts", &known), None);
        assert_eq!(nearest("", &known), None);
        assert_eq!(nearest("principals", &[]), None);
        assert_eq!(nearest(&"a".repeat(65), &known), None);
    }

    #[test]
    fn counts_edits() {
        for (left, right, edits) in [("", "abc", 3), ("abc", "abc", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(left, right), edits, "{left} {right}");
        }
    }
}
