//! Bytes of a path: which are escaped, which are not (RFC 3986 sections 2.1 and 2.3).

/// What may stand raw in the target of a request (RFC 9112 section 3.2): visible ASCII.
pub(super) fn may_stand_raw(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e)
}

/// The bytes that an escape is undone for: unreserved characters.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The visible bytes that no path holds raw, which Envoy's `normalize_path` escapes.
fn needs_escape(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
}

/// One unit of a path: a raw byte, or what an escape stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A byte as it stands.
    Raw(u8),
    /// An escape of an unreserved byte, which is the same as that byte.
    Unreserved(u8),
    /// An escape of any other byte, which is kept, with its digits in the case that they came in.
    Kept([u8; 3]),
    /// An escape of NUL.
    Nul,
    /// A percent sign that begins no escape.
    StrayPercent,
}

impl Unit {
    /// The unit at the front of `rest`, and how many bytes it takes. `None` at the end.
    pub(super) fn first(rest: &[u8]) -> Option<(Self, usize)> {
        let byte = *rest.first()?;
        if byte != b'%' {
            return Some((Self::Raw(byte), 1));
        }
        let Some((value, digits)) = rest.get(1..3).and_then(|digits| Some((hex_pair(digits)?, digits))) else {
            return Some((Self::StrayPercent, 1));
        };
        let unit = match (value, digits) {
            (0, _) => Self::Nul,
            (value, _) if is_unreserved(value) => Self::Unreserved(value),
            (_, [high, low]) => Self::Kept([b'%', *high, *low]),
            _ => Self::StrayPercent,
        };
        Some((unit, 3))
    }

    /// Whether it is a dot, escaped or not.
    pub(super) fn is_dot(self) -> bool {
        matches!(self, Self::Raw(b'.') | Self::Unreserved(b'.'))
    }
}

/// Appends a raw byte, escaped if no path holds it raw.
pub(super) fn push_raw(out: &mut Vec<u8>, byte: u8) {
    if needs_escape(byte) {
        out.extend([b'%', hex_digit(byte >> 4), hex_digit(byte & 15)]);
    } else {
        out.push(byte);
    }
}

/// Undoes the escapes of slashes and backslashes, once, from left to right.
pub(super) fn unescape_slashes(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(byte) = rest.first() {
        let taken = match rest {
            [b'%', b'2', b'f' | b'F', ..] => {
                out.push(b'/');
                3
            }
            [b'%', b'5', b'c' | b'C', ..] => {
                out.push(b'\\');
                3
            }
            _ => {
                out.push(*byte);
                1
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

/// The value of two hexadecimal digits.
pub(super) fn hex_pair(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    Some(hex_value(*high)? << 4 | hex_value(*low)?)
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn hex_digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'A' + (value - 10),
    }
}
