//! A text is cut into its documents before any of them is read, so that what is malformed ends with its document.

/// The text of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    /// Its place in the text, from 1.
    pub(super) index: usize,
    /// How many lines of the text come before it.
    pub(super) lines_before: usize,
    pub(super) text: &'a str,
}

/// YAML 1.2 section 9.1.2: a line that begins with `---` or `...` is a marker wherever it stands, even within a block scalar.
pub(super) fn split(text: &str) -> Vec<Chunk<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut chunks = Vec::new();
    let (mut start, mut first_line, mut offset, mut lines) = (0, 0, 0, 0);
    for line in text.split_inclusive('\n') {
        let end = offset + line.len();
        // The marker of a beginning belongs to the document that begins, that of an end to the one that ends.
        let cut = if is_marker(line, "---") { Some((offset, lines)) } else { is_marker(line, "...").then_some((end, lines + 1)) };
        if let Some((at, line_number)) = cut {
            if at > start {
                chunks.push((first_line, &text[start..at]));
            }
            (start, first_line) = (at, line_number);
        }
        (offset, lines) = (end, lines + 1);
    }
    if start < text.len() {
        chunks.push((first_line, &text[start..]));
    }
    let numbered = chunks.into_iter().enumerate();
    numbered.map(|(index, (lines_before, text))| Chunk { index: index + 1, lines_before, text }).collect()
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(usize, &str)> {
        split(text).into_iter().map(|chunk| (chunk.lines_before, chunk.text)).collect()
    }

    #[test]
    fn cuts_at_the_markers_and_nowhere_else() {
        assert_eq!(texts(""), []);
        assert_eq!(texts("a: 1\n"), [(0, "a: 1\n")]);
        assert_eq!(texts("\u{feff}a: 1"), [(0, "a: 1")]);
        assert_eq!(texts("---\na: 1\n---\nb: 2\n"), [(0, "---\na: 1\n"), (2, "---\nb: 2\n")]);
        assert_eq!(texts("a: 1\n...\nb: 2\n---\r\nc: 3"), [(0, "a: 1\n...\n"), (2, "b: 2\n"), (3, "---\r\nc: 3")]);
        assert_eq!(texts("--- {a: 1}\n----\n a: ---\n ---\n---a: 1\n"), [(0, "--- {a: 1}\n----\n a: ---\n ---\n---a: 1\n")]);
    }
}
