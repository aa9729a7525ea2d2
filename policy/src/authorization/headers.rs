//! Whether a header, with as many lines as it came in, matches.

use crate::mesh::HeaderReading;
use crate::pattern::{Leaning, Pattern};

/// Whether any of the patterns matches a header of these lines. Without a line, nothing matches.
pub(crate) fn matches(patterns: &[Pattern], lines: &[&[u8]], leaning: Leaning, reading: HeaderReading) -> bool {
    let line_matches = |line: &[u8]| patterns.iter().any(|pattern| pattern.matches_present(line));
    let joined_matches = || line_matches(&lines.join(b",".as_slice()));
    match (lines, reading, leaning) {
        ([], _, _) => false,
        ([line], _, _) => line_matches(line),
        (_, HeaderReading::Strict, Leaning::Admits) => lines.iter().all(|line| line_matches(line)),
        (_, HeaderReading::Strict, Leaning::Refuses) => lines.iter().any(|line| line_matches(line)) || joined_matches(),
        (_, HeaderReading::Envoy140, _) => lines.iter().any(|line| line_matches(line)),
        (_, HeaderReading::Envoy136, _) => joined_matches(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row: lines, pattern, and what comes of it: strict where a match refuses, strict where it admits, Envoy 1.40, Envoy 1.36.
    #[test]
    fn repeated_lines_in_each_reading() {
        for (lines, pattern, expected) in [
            (&["foo"][..], "foo", [true, true, true, true]),
            (&["FOO"], "foo", [false, false, false, false]),
            (&["foo", "bar"], "foo", [true, false, true, false]),
            (&["bar", "foo"], "foo", [true, false, true, false]),
            (&["foo", "bar"], "bar", [true, false, true, false]),
            (&["foo", "bar"], "foo,bar", [true, false, false, true]),
            (&["bar", "foo"], "fo*", [true, false, true, false]),
            (&["bar", "foo"], "*ar", [true, false, true, false]),
            (&["foo", "foo"], "foo", [true, true, true, false]),
            (&["foo,bar"], "foo", [false, false, false, false]),
            (&["foo,bar"], "foo,bar", [true, true, true, true]),
            (&[], "foo", [false, false, false, false]),
            (&[], "*", [false, false, false, false]),
            (&[""], "*", [true, true, true, true]),
            (&["", ""], "*", [true, true, true, true]),
        ] {
            let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            let patterns = [Pattern::of(pattern)];
            let found = [
                (Leaning::Refuses, HeaderReading::Strict),
                (Leaning::Admits, HeaderReading::Strict),
                (Leaning::Refuses, HeaderReading::Envoy140),
                (Leaning::Admits, HeaderReading::Envoy136),
            ]
            .map(|(leaning, reading)| matches(&patterns, &lines, leaning, reading));
            assert_eq!(found, expected, "{lines:?} {pattern}");
        }
    }

    #[test]
    fn each_line_may_match_another_value() {
        let patterns = [Pattern::of("foo"), Pattern::of("bar")];
        assert!(matches(&patterns, &[b"foo", b"bar"], Leaning::Admits, HeaderReading::Strict));
        assert!(!matches(&patterns, &[b"foo", b"baz"], Leaning::Admits, HeaderReading::Strict));
    }
}
