//! Addresses and ranges of them (CIDR).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A range of addresses: an address, which is its own range, or `address/length` (RFC 4632, RFC 4291 section 2.3).
///
/// Kept in one form: bits behind the length are cleared, and what lies in `::ffff:0:0/96` is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    first: IpAddr,
    length: u8,
}

/// Why a text is not a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRangeError {
    /// What stands before the slash is no IP address; an address with a zone is none.
    #[error("{found:?} is not an IP address")]
    Address {
        /// The text met.
        found: String,
    },
    /// What stands behind the slash is no length of that family.
    #[error("{found:?} is not a prefix length; it lies between 0 and {longest}")]
    Length {
        /// The text met.
        found: String,
        /// The longest length of the family, 32 or 128.
        longest: u8,
    },
}

/// The one form of an address: an IPv4 address that came in IPv6 clothes (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2) is IPv4.
#[must_use]
pub fn canonical_address(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

const MAPPED_LENGTH: u8 = 96;

impl AddressRange {
    /// Parses an address or a range.
    ///
    /// # Errors
    /// [`AddressRangeError`] naming the part that cannot be read.
    pub fn parse(text: &str) -> Result<Self, AddressRangeError> {
        let (address_text, length_text) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address_text.parse().map_err(|_| AddressRangeError::Address { found: address_text.to_owned() })?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = match length_text {
            None => longest,
            Some(digits) => parse_length(digits, longest)?,
        };
        Ok(Self::new(address, length))
    }

    /// The range of an address and the number of its leading bits that count; more bits than it has are as many as it has.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Self {
        let length = length.min(if address.is_ipv4() { 32 } else { 128 });
        let (address, length) = match (address.to_canonical(), length.checked_sub(MAPPED_LENGTH)) {
            (IpAddr::V4(v4), Some(v4_length)) if address.is_ipv6() => (IpAddr::V4(v4), v4_length),
            _ => (address, length),
        };
        Self { first: first_of(address, length), length }
    }

    /// The number of leading bits that count.
    pub(crate) fn length(&self) -> u8 {
        self.length
    }

    /// Whether it is one of IPv4 addresses.
    pub(crate) fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }

    /// Whether an address lies in the range. The address is made canonical first.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = canonical_address(address);
        address.is_ipv4() == self.first.is_ipv4() && first_of(address, self.length) == self.first
    }
}

fn parse_length(digits: &str, longest: u8) -> Result<u8, AddressRangeError> {
    let refused = || AddressRangeError::Length { found: digits.to_owned(), longest };
    if digits.is_empty() || digits.len() > 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused());
    }
    match digits.parse::<u8>() {
        Ok(length) if length <= longest => Ok(length),
        _ => Err(refused()),
    }
}

/// The first address of the range of this length that the address lies in.
fn first_of(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(length.into())).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(length.into())).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(text: &str) -> AddressRange {
        AddressRange::parse(text).unwrap()
    }

    #[test]
    fn membership_by_family_and_length() {
        for (text, address, expected) in [
            ("10.0.0.0/8", "10.1.1.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.9.9.9/8", "10.1.1.1", true),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.0.0.1", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("1.2.3.4", "1.2.3.4", true),
            ("1.2.3.4", "1.2.3.5", false),
            ("1.2.3.4/31", "1.2.3.5", true),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "10.0.0.1", false),
            ("::/0", "::ffff:10.0.0.1", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("2001:db8::1/128", "2001:db8::2", false),
        ] {
            assert_eq!(range(text).contains(address.parse().unwrap()), expected, "{text} {address}");
        }
    }

    #[test]
    fn one_form_of_each_range() {
        assert_eq!(range("10.9.9.9/8").to_string(), "10.0.0.0/8");
        assert_eq!(range("::ffff:10.0.0.0/104").to_string(), "10.0.0.0/8");
        assert_eq!(range("::ffff:0:0/80").to_string(), "::/80");
        assert_eq!(range("1.2.3.4").to_string(), "1.2.3.4/32");
    }

    #[test]
    fn refuses_what_is_no_range() {
        for text in ["", "/8", "10.0.0", "10.0.0.0.0", "010.0.0.1", "fe80::1%eth0", "a", " 10.0.0.1"] {
            assert!(matches!(AddressRange::parse(text), Err(AddressRangeError::Address { .. })), "{text}");
        }
        for text in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/8/8", "::/129", "::/1000", "::/256"] {
            assert!(matches!(AddressRange::parse(text), Err(AddressRangeError::Length { .. })), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_range_holds_its_address_and_agrees_with_bits(address in any::<u32>(), other in any::<u32>(), length in 0_u8..=32) {
            let range = range(&format!("{}/{length}", std::net::Ipv4Addr::from_bits(address)));
            prop_assert!(range.contains(IpAddr::V4(address.into())));
            let same = (0..u32::from(length)).all(|bit| (address >> (31 - bit)) & 1 == (other >> (31 - bit)) & 1);
            prop_assert_eq!(range.contains(IpAddr::V4(other.into())), same);
        }
    }
}
