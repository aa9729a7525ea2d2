//! Serial numbers of certificates (RFC 5280 section 4.1.2.2).

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

/// Random bytes in a serial made here: 136 bits, above the 64 that the CA/Browser Forum's Baseline Requirements (section
/// 7.1) ask for.
pub const SERIAL_RANDOM_BYTES: usize = 17;

/// The longest serial, in bytes, without a sign byte (RFC 5280 section 4.1.2.2).
const MAX_BYTES: usize = 20;

/// The first byte of all serials of a replica, 0x01 to 0x7f: replicas cannot collide, and the serial is positive and has a
/// fixed length of 18 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaByte(u8);

impl ReplicaByte {
    /// 1 to 127, else `None`.
    #[must_use]
    pub fn new(byte: u8) -> Option<Self> {
        matches!(byte, 0x01..=0x7f).then_some(Self(byte))
    }

    /// 1 to 127.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

/// Why bytes or a text are no serial.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SerialNumberError {
    /// No byte at all, or more than 20 without the sign byte.
    #[error("a serial number has 1 to {MAX_BYTES} bytes, found {0}")]
    Length(usize),
    /// The number zero.
    #[error("a serial number is positive, found zero")]
    Zero,
    /// A negative INTEGER in a certificate.
    #[error("a serial number is positive, found a negative one")]
    Negative,
    /// A text that is not lower-case hex in whole bytes without leading zero bytes.
    #[error("a serial number is written in lower-case hex, two digits per byte")]
    Hex,
}

/// A positive serial of 1 to 20 bytes. `Display` and `FromStr`: lower-case hex, two digits per byte.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SerialNumber(Vec<u8>);

impl SerialNumber {
    /// The replica's byte, then 136 random bits.
    #[must_use]
    pub fn new(replica: ReplicaByte, random: [u8; SERIAL_RANDOM_BYTES]) -> Self {
        Self([&[replica.0], &random[..]].concat())
    }

    /// From the stored bytes of a serial, or from the content of a DER INTEGER known to be positive: big-endian, with or
    /// without a sign byte.
    ///
    /// # Errors
    /// [`SerialNumberError`] when the number is zero or too long.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SerialNumberError> {
        let magnitude = match bytes {
            [0] => return Err(SerialNumberError::Zero),
            [0, rest @ ..] => rest,
            all => all,
        };
        if magnitude.is_empty() || magnitude.len() > MAX_BYTES {
            return Err(SerialNumberError::Length(magnitude.len()));
        }
        if magnitude.first() == Some(&0) {
            // Two leading zero bytes: no encoder writes that, and one number must not have two texts.
            return Err(if magnitude.iter().all(|byte| *byte == 0) { SerialNumberError::Zero } else { SerialNumberError::Hex });
        }
        Ok(Self(magnitude.to_vec()))
    }

    /// From the content of a DER INTEGER as it stands in a certificate, where a set top bit means a negative number.
    pub(crate) fn from_der_content(content: &[u8]) -> Result<Self, SerialNumberError> {
        match content.first() {
            Some(0x80..) => Err(SerialNumberError::Negative),
            Some(_) | None => Self::from_bytes(content),
        }
    }

    /// The number, big-endian, without a sign byte.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SerialNumber {
    type Err = SerialNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| SerialNumberError::Hex)?;
        let serial = Self::from_bytes(&bytes)?;
        if serial.0.len() == bytes.len() { Ok(serial) } else { Err(SerialNumberError::Hex) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_serials_are_positive_and_18_bytes_long() {
        assert_eq!(ReplicaByte::new(0), None);
        assert_eq!(ReplicaByte::new(0x80), None);
        for byte in [0x01, 0x7f] {
            let serial = SerialNumber::new(ReplicaByte::new(byte).unwrap(), [0xff; SERIAL_RANDOM_BYTES]);
            assert_eq!(serial.as_bytes().len(), 18);
            assert_eq!(serial.as_bytes()[0], byte);
            assert_eq!(serial.to_string().parse(), Ok(serial.clone()));
            assert_eq!(SerialNumber::from_bytes(serial.as_bytes()), Ok(serial));
        }
    }

    #[test]
    fn bounds_and_sign() {
        use SerialNumberError as E;
        assert_eq!(SerialNumber::from_bytes(&[0xff; 20]).unwrap().as_bytes(), [0xff; 20]);
        assert_eq!(SerialNumber::from_bytes(&[0xff; 21]), Err(E::Length(21)));
        assert_eq!(SerialNumber::from_bytes(&[]), Err(E::Length(0)));
        assert_eq!(SerialNumber::from_bytes(&[0]), Err(E::Zero));
        assert_eq!(SerialNumber::from_bytes(&[0, 0]), Err(E::Zero));
        assert_eq!(SerialNumber::from_bytes(&[0, 0x80]).unwrap().as_bytes(), [0x80]);
        assert_eq!(SerialNumber::from_der_content(&[0x80]), Err(E::Negative));
        assert_eq!(SerialNumber::from_der_content(&[0, 0x80]).unwrap().as_bytes(), [0x80]);
    }

    #[test]
    fn text_has_one_form() {
        use SerialNumberError as E;
        assert_eq!("01ab".parse::<SerialNumber>().unwrap().as_bytes(), [0x01, 0xab]);
        for bad in ["01AB", "1ab", "0x01", "001a", "01 ab"] {
            assert_eq!(bad.parse::<SerialNumber>(), Err(E::Hex), "{bad}");
        }
        assert_eq!("".parse::<SerialNumber>(), Err(E::Length(0)));
    }
}
