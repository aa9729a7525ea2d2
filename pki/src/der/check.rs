//! The strict check of a whole document.

use super::{DerError, Reader, Value};

/// The deepest nesting allowed. A certificate with name constraints needs about ten levels.
const MAX_DEPTH: u32 = 24;

/// Checks that `der` is exactly one value, strict in all its parts. The insides of OCTET STRINGs and of primitive context
/// tags are not looked at.
pub(crate) fn check(der: &[u8]) -> Result<(), DerError> {
    let mut reader = Reader::new(der);
    let value = reader.next()?;
    reader.finish()?;
    check_value(value, MAX_DEPTH)
}

fn check_value(value: Value<'_>, depth: u32) -> Result<(), DerError> {
    let not_canonical = Err(DerError::NotCanonical { tag: value.tag });
    // Bit 6 says "constructed"; the upper two bits are the class, zero being the universal one.
    if value.tag & 0x20 == 0 {
        return if value.tag & 0xc0 != 0 || is_canonical(value) { Ok(()) } else { not_canonical };
    }
    if value.tag & 0xc0 == 0 && !matches!(value.tag, 0x30 | 0x31) {
        // A string cut into pieces, which DER forbids, or a primitive type that claims to be constructed.
        return not_canonical;
    }
    let depth = depth.checked_sub(1).ok_or(DerError::Depth { limit: MAX_DEPTH })?;
    let mut inside = Reader::new(value.content);
    while !inside.is_empty() {
        check_value(inside.next()?, depth)?;
    }
    Ok(())
}

/// Whether a primitive value of a universal type is in its one canonical form.
fn is_canonical(value: Value<'_>) -> bool {
    match (value.tag, value.content) {
        (0x01, content) => matches!(content, [0] | [0xff]),
        (0x02 | 0x0a, content) => match content {
            [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => false,
            [_, ..] => true,
        },
        (0x03, content) => match content {
            [0] => true,
            [unused @ 0..=7, .., last] => last.trailing_zeros() >= u32::from(*unused),
            _ => false,
        },
        (0x05, content) => content.is_empty(),
        (0x06, content) => {
            let ends = content.last().is_some_and(|last| last & 0x80 == 0);
            let padded = content.first() == Some(&0x80)
                || content.windows(2).any(|pair| matches!(pair, [before, 0x80] if before & 0x80 == 0));
            ends && !padded
        }
        // RFC 5280 section 4.1.2.5: UTC in whole seconds, nothing else.
        (0x17, content) => is_time(content, 12),
        (0x18, content) => is_time(content, 14),
        // Sequences and sets are never primitive.
        (0x10 | 0x11, _) => false,
        _ => true,
    }
}

fn is_time(content: &[u8], digits: usize) -> bool {
    content.len() == digits + 1 && matches!(content.split_last(), Some((b'Z', rest)) if rest.iter().all(u8::is_ascii_digit))
}
