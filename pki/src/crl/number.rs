//! The number of a list (RFC 5280 section 5.2.3).

use std::fmt;

use crate::der::DerError;

/// The longest number that must be read, in bytes.
const MAX_BYTES: usize = 20;

/// The number of a list, not negative and at most 20 bytes long. `Display`: decimal, or hex after `0x` above 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrlNumber([u8; MAX_BYTES]);

impl CrlNumber {
    /// From its bytes, big-endian, without a sign byte; `None` when there are too many.
    pub(super) fn from_magnitude(bytes: &[u8]) -> Option<Self> {
        let mut number = [0; MAX_BYTES];
        number.get_mut(MAX_BYTES.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
        Some(Self(number))
    }

    /// The content of its DER INTEGER.
    pub(super) fn to_der_content(self) -> Vec<u8> {
        let magnitude: Vec<u8> = self.0.iter().copied().skip_while(|byte| *byte == 0).collect();
        match magnitude.first() {
            None | Some(0x80..) => [&[0], magnitude.as_slice()].concat(),
            Some(_) => magnitude,
        }
    }
}

impl From<u64> for CrlNumber {
    fn from(number: u64) -> Self {
        let mut bytes = [0; MAX_BYTES];
        bytes.iter_mut().rev().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
        Self(bytes)
    }
}

impl fmt::Display for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (high, low) = self.0.split_at(MAX_BYTES - 16);
        if high.iter().all(|byte| *byte == 0) {
            let low = low.iter().fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
            return write!(f, "{low}");
        }
        write!(f, "0x{}", data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number that the content of the extension is.
pub(super) fn read_number(value: &[u8]) -> Result<Option<CrlNumber>, DerError> {
    let mut reader = crate::der::Reader::new(value);
    let number = CrlNumber::from_magnitude(reader.unsigned_integer()?);
    reader.finish()?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_and_written_as_what_they_are() {
        assert_eq!(CrlNumber::from(0).to_string(), "0");
        assert_eq!(CrlNumber::from(u64::MAX).to_string(), u64::MAX.to_string());
        assert!(CrlNumber::from(255) < CrlNumber::from(256));
        let longest = CrlNumber::from_magnitude(&[0x80; MAX_BYTES]).unwrap();
        assert!(CrlNumber::from(u64::MAX) < longest);
        assert_eq!(longest.to_string(), format!("0x{}", "80".repeat(MAX_BYTES)));
        assert_eq!(CrlNumber::from_magnitude(&[1; MAX_BYTES + 1]), None);
        for number in [CrlNumber::from(0), CrlNumber::from(0x80), CrlNumber::from(0x7f), longest] {
            let der = crate::der::encode(crate::der::INTEGER, &[&number.to_der_content()]);
            assert_eq!(read_number(&der), Ok(Some(number)));
        }
        assert!(read_number(&[2, 1, 0x80]).is_err());
        assert!(read_number(&[2, 1, 1, 0]).is_err());
    }
}
