//! DER (ITU-T X.690 section 10): a strict check of whole documents, and the small reader and writer that key containers need.
//!
//! Certificates and requests are read by `x509-parser`, which forgives some BER. [`check()`] runs before it, so that two
//! parsers never read the same bytes in two ways: one value, definite and shortest lengths, bounded depth, canonical
//! primitives. It does not check the order inside a SET OF, nor that default values are left out.

mod check;
#[cfg(test)]
mod tests;

use zeroize::Zeroizing;

pub(crate) use check::check;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// `[0]`, constructed.
pub(crate) const CONTEXT_0: u8 = 0xa0;
/// `[1]`, constructed.
pub(crate) const CONTEXT_1: u8 = 0xa1;
/// `[3]`, constructed.
pub(crate) const CONTEXT_3: u8 = 0xa3;

/// Why bytes are not the DER that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DerError {
    /// A value says that it is longer than the bytes at hand.
    #[error("the encoding ends before its last value does")]
    Truncated,
    /// The length form 0x80, which only BER knows.
    #[error("a value has an indefinite length, which DER forbids")]
    IndefiniteLength,
    /// A length in more bytes than it needs, or in more than four.
    #[error("a length is not in its shortest form or is too large")]
    Length,
    /// A tag number above 30, which nothing in X.509 uses.
    #[error("a tag is in the high-tag-number form")]
    HighTagNumber,
    /// Values nested deeper than any certificate needs.
    #[error("values are nested more than {limit} deep")]
    Depth {
        /// The limit, in levels.
        limit: u32,
    },
    /// Bytes stand behind the one value.
    #[error("{bytes} bytes stand behind the end of the value")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// Another value stands where one of a certain kind was expected.
    #[error("expected the tag {expected:#04x}, found {found:#04x}")]
    Tag {
        /// The tag byte expected.
        expected: u8,
        /// The tag byte met.
        found: u8,
    },
    /// A primitive value is not in its one canonical form.
    #[error("a value of the tag {tag:#04x} is not in its canonical form")]
    NotCanonical {
        /// The tag byte of the value.
        tag: u8,
    },
}

/// One value: its tag byte, its content, and the whole encoding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) encoded: &'a [u8],
}

/// Reads values one after the other; each must be strict in tag and length.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(der: &'a [u8]) -> Self {
        Self { rest: der }
    }

    /// The content of the one value of kind `tag` that `der` is.
    pub(crate) fn only(der: &'a [u8], tag: u8) -> Result<&'a [u8], DerError> {
        let mut reader = Self::new(der);
        let content = reader.expect(tag)?;
        reader.finish()?;
        Ok(content)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The tag byte of the next value, if there is one.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next value, whatever it is.
    pub(crate) fn next(&mut self) -> Result<Value<'a>, DerError> {
        let (&tag, after_tag) = self.rest.split_first().ok_or(DerError::Truncated)?;
        if tag & 0x1f == 0x1f {
            return Err(DerError::HighTagNumber);
        }
        let (length, after_length) = read_length(after_tag)?;
        let (content, rest) = after_length.split_at_checked(length).ok_or(DerError::Truncated)?;
        let (encoded, _) = self.rest.split_at(self.rest.len() - rest.len());
        self.rest = rest;
        Ok(Value { tag, content, encoded })
    }

    /// The content of the next value, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Result<&'a [u8], DerError> {
        let value = self.next()?;
        if value.tag == tag { Ok(value.content) } else { Err(DerError::Tag { expected: tag, found: value.tag }) }
    }

    /// The content of the next value if it has this tag; otherwise nothing is read.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, DerError> {
        if self.peek() == Some(tag) { self.expect(tag).map(Some) } else { Ok(None) }
    }

    /// The next INTEGER, which must not be negative, without its sign byte.
    pub(crate) fn unsigned_integer(&mut self) -> Result<&'a [u8], DerError> {
        match self.expect(INTEGER)? {
            [] => Err(DerError::NotCanonical { tag: INTEGER }),
            [0] => Ok(&[]),
            [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 0x80) => Ok(rest),
            [first, ..] if *first == 0 || *first >= 0x80 => Err(DerError::NotCanonical { tag: INTEGER }),
            content => Ok(content),
        }
    }

    /// The bytes of the next BIT STRING, which must be a whole number of them.
    pub(crate) fn whole_byte_bit_string(&mut self) -> Result<&'a [u8], DerError> {
        match self.expect(BIT_STRING)?.split_first() {
            Some((0, bytes)) => Ok(bytes),
            _ => Err(DerError::NotCanonical { tag: BIT_STRING }),
        }
    }

    /// Refuses bytes that nobody read.
    pub(crate) fn finish(self) -> Result<(), DerError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DerError::Trailing { bytes: self.rest.len() }) }
    }
}

fn read_length(input: &[u8]) -> Result<(usize, &[u8]), DerError> {
    let (&first, rest) = input.split_first().ok_or(DerError::Truncated)?;
    match first {
        0..0x80 => Ok((usize::from(first), rest)),
        0x80 => Err(DerError::IndefiniteLength),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f)).ok_or(DerError::Truncated)?;
            let length = bytes.iter().fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
            let shortest = length >= 0x80 && bytes.first().is_some_and(|byte| *byte != 0);
            let length = usize::try_from(length).map_err(|_| DerError::Length)?;
            if shortest { Ok((length, rest)) } else { Err(DerError::Length) }
        }
        0x85.. => Err(DerError::Length),
    }
}

/// One encoded value, its content being `parts` one after the other. The buffer never grows in place, so that secret
/// parts leave no copy behind.
pub(crate) fn encode(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(length + 10));
    out.push(tag);
    let (bytes, from) = length_bytes(length);
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// Appends one value whose content `write` appends. For what is public: a buffer that grows leaves copies behind.
pub(crate) fn nest(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len();
    write(out);
    let (bytes, from) = length_bytes(out.len() - start);
    out.splice(start..start, bytes.into_iter().skip(from));
}

/// The length of a content: the bytes from the index told on.
fn length_bytes(length: usize) -> ([u8; 9], usize) {
    let mut bytes = [0; 9];
    let (_, number) = bytes.split_at_mut(1);
    number.copy_from_slice(&u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
    if length < 0x80 {
        return (bytes, 8);
    }
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(8);
    let count = u8::try_from(9 - first).unwrap_or(8);
    if let Some(before) = bytes.get_mut(first - 1) {
        *before = 0x80 | count;
    }
    (bytes, first - 1)
}

/// The text of an encoded object identifier (its content bytes), such as `1.2.840.10045.2.1`; hex when it is malformed.
pub(crate) fn oid_text(content: &[u8]) -> String {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0_u64;
    for byte in content {
        let Some(shifted) = arc.checked_mul(128) else { return data_encoding::HEXLOWER.encode(content) };
        arc = shifted | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.push(first);
                arc -= first * 40;
            }
            arcs.push(arc);
            arc = 0;
        }
    }
    arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}
