//! A writer of DER (ITU-T X.690 section 10) over small pieces, which can also write what DER forbids.
//!
//! It shares no code with the readers under test: a fault in both would cancel out.

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// One value: its tag byte, its shortest length, its content.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag][..], &length(content.len()), content].concat()
}

/// A constructed value (or a primitive one made of pieces).
pub(crate) fn of(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    value(tag, &parts.concat())
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    of(SEQUENCE, parts)
}

pub(crate) fn set(parts: &[Vec<u8>]) -> Vec<u8> {
    of(SET, parts)
}

pub(crate) fn null() -> Vec<u8> {
    value(NULL, &[])
}

pub(crate) fn boolean(says: bool) -> Vec<u8> {
    value(BOOLEAN, &[if says { 0xff } else { 0 }])
}

/// An INTEGER from the bytes of a number that is not negative, big-endian.
pub(crate) fn unsigned(number: &[u8]) -> Vec<u8> {
    let significant: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
    let sign: &[u8] = if significant.first().is_none_or(|first| *first >= 0x80) { &[0] } else { &[] };
    value(INTEGER, &[sign, &significant].concat())
}

pub(crate) fn small(number: u32) -> Vec<u8> {
    unsigned(&number.to_be_bytes())
}

/// A BIT STRING of whole bytes.
pub(crate) fn bits(bytes: &[u8]) -> Vec<u8> {
    value(BIT_STRING, &[&[0], bytes].concat())
}

pub(crate) fn octets(bytes: &[u8]) -> Vec<u8> {
    value(OCTET_STRING, bytes)
}

/// An object identifier from its dotted form.
pub(crate) fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u64> = dotted.split('.').map(|arc| arc.parse().unwrap()).collect();
    let first = arcs[0] * 40 + arcs[1];
    let content = std::iter::once(&first).chain(&arcs[2..]).flat_map(|arc| base128(*arc)).collect::<Vec<_>>();
    value(OID, &content)
}

fn base128(mut number: u64) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(number & 0x7f).unwrap()];
    while number > 0x7f {
        number >>= 7;
        bytes.insert(0, 0x80 | u8::try_from(number & 0x7f).unwrap());
    }
    bytes
}

fn length(length: usize) -> Vec<u8> {
    if length < 0x80 {
        return vec![u8::try_from(length).unwrap()];
    }
    let significant: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    [&[0x80 | u8::try_from(significant.len()).unwrap()][..], &significant].concat()
}

/// `count` sequences, each the only content of the one around it.
pub(crate) fn nested(count: usize) -> Vec<u8> {
    (0..count).fold(Vec::new(), |inside, _| value(SEQUENCE, &inside))
}
