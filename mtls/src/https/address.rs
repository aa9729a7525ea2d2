//! Which addresses are connected to: public ones, and those that a list allows.
//!
//! What is judged is the address that will be connected to, after resolution. Everything that the registries of special purpose
//! addresses (RFC 6890 and its successors) do not call globally reachable is refused, so that an unknown kind of address is refused too.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Why an address is not connected to unless it is allowed by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// `0.0.0.0/8`, `::`: this host.
    Unspecified,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// Where clouds hand credentials to whoever asks from within. Allowed only by its own address, never by a wider range.
    Metadata,
    /// RFC 1918, RFC 4193 (ULA), the local NAT64 prefix of RFC 8215.
    Private,
    /// `100.64.0.0/10`, RFC 6598.
    CarrierNat,
    /// `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// Anything else that is not globally reachable: documentation, benchmarks, protocol assignments, reserved.
    Reserved,
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "a cloud's metadata address",
            Self::Private => "a private address",
            Self::CarrierNat => "an address of carrier-grade NAT",
            Self::Multicast => "a multicast address",
            Self::Reserved => "an address that is not globally reachable",
        })
    }
}

/// A range of addresses in CIDR notation (RFC 4632, RFC 4291 section 2.3); a bare address is the range of that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    prefix: u8,
}

/// Why a text is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRangeError {
    /// No address, or no length of a prefix after the slash.
    #[error("{found:?} is no range of addresses such as 10.0.0.0/8, fd00::/8 or 192.0.2.1")]
    Malformed {
        /// The text met.
        found: String,
    },
    /// Bits after the prefix are set, so that it is not clear what was meant.
    #[error("{found} has bits set after its prefix; the range is written {meant}")]
    HostBits {
        /// The text met.
        found: String,
        /// The range that its prefix names.
        meant: AddressRange,
    },
}

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || AddressRangeError::Malformed { found: text.to_owned() };
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| malformed())?,
            Some(_) => return Err(malformed()),
            None => width(address),
        };
        if prefix > width(address) {
            return Err(malformed());
        }
        let meant = Self { first: masked(address, prefix), prefix };
        if meant.first == address { Ok(meant) } else { Err(AddressRangeError::HostBits { found: text.to_owned(), meant }) }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl AddressRange {
    fn contains(&self, address: IpAddr) -> bool {
        width(self.first) == width(address) && masked(address, self.prefix) == self.first
    }

    fn is_one_address(&self) -> bool {
        self.prefix == width(self.first)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

/// The address to connect to, an IPv4-mapped one (RFC 4291 section 2.5.5.2) as the IPv4 address that it is.
///
/// # Errors
/// What it is, when it is neither public nor allowed.
pub(super) fn judge(address: IpAddr, allowed: &[AddressRange]) -> Result<IpAddr, AddressClass> {
    let address = address.to_canonical();
    let Some(class) = class_of(address) else { return Ok(address) };
    let names_it = |range: &&AddressRange| range.contains(address) && (class != AddressClass::Metadata || range.is_one_address());
    if allowed.iter().any(|range| names_it(&range)) { Ok(address) } else { Err(class) }
}

/// What is special about an address; `None` for a public one.
fn class_of(address: IpAddr) -> Option<AddressClass> {
    match address {
        IpAddr::V4(v4) => class_of_v4(v4),
        IpAddr::V6(v6) => class_of_v6(v6),
    }
}

fn class_of_v4(address: Ipv4Addr) -> Option<AddressClass> {
    use AddressClass as C;
    match address.octets() {
        [169, 254, 169, 254] | [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, 192] => Some(C::Metadata),
        [0, ..] => Some(C::Unspecified),
        [127, ..] => Some(C::Loopback),
        [169, 254, ..] => Some(C::LinkLocal),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some(C::Private),
        [100, 64..=127, ..] => Some(C::CarrierNat),
        [224..=239, ..] => Some(C::Multicast),
        // Protocol assignments, documentation, the old 6to4 relays, benchmarks, class E with broadcast.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] | [240..=255, ..] => {
            Some(C::Reserved)
        }
        _ => None,
    }
}

fn class_of_v6(address: Ipv6Addr) -> Option<AddressClass> {
    use AddressClass as C;
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(C::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(C::Loopback),
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => Some(C::Metadata),
        // NAT64 (RFC 6052) and 6to4 (RFC 3056) lead to the IPv4 address inside, whatever its prefix looks like.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => class_of_v4(embedded(high, low)),
        [0x2002, high, low, ..] => class_of_v4(embedded(high, low)),
        [0x64, 0xff9b, 1, ..] | [0xfc00..=0xfdff, ..] => Some(C::Private),
        [0xfe80..=0xfebf, ..] => Some(C::LinkLocal),
        [0xff00..=0xffff, ..] => Some(C::Multicast),
        // Protocol assignments (Teredo among them, which hides an IPv4 address), documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some(C::Reserved),
        [0x2000..=0x3fff, ..] => None,
        // Outside of global unicast (RFC 4291 section 2.4).
        _ => Some(C::Reserved),
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(address: &str, allowed: &[&str]) -> Result<IpAddr, AddressClass> {
        let allowed: Vec<_> = allowed.iter().map(|range| range.parse().unwrap()).collect();
        judge(address.parse().unwrap(), &allowed)
    }

    #[test]
    fn public_addresses_are_connected_to() {
        for address in ["8.8.8.8", "172.15.255.255", "172.32.0.1", "100.63.0.1", "100.128.0.1", "192.0.1.1", "223.255.255.255"] {
            assert_eq!(judged(address, &[]), Ok(address.parse().unwrap()), "{address}");
        }
        for address in ["2606:4700::1111", "2001:4860:4860::8888", "2a00:1450::1", "64:ff9b::808:808", "2002:808:808::1"] {
            assert_eq!(judged(address, &[]), Ok(address.parse().unwrap()), "{address}");
        }
        assert_eq!(judged("::ffff:8.8.8.8", &[]), Ok("8.8.8.8".parse().unwrap()), "mapped is the IPv4 address itself");
    }

    #[test]
    fn special_addresses_are_refused_by_their_class() {
        use AddressClass as C;
        let table = [
            (C::Unspecified, &["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"][..]),
            (C::Loopback, &["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]),
            (C::LinkLocal, &["169.254.0.1", "169.254.255.255", "fe80::1", "febf::1", "::ffff:169.254.1.1"]),
            (
                C::Metadata,
                &[
                    "169.254.169.254",
                    "fd00:ec2::254",
                    "fd20:ce::254",
                    "168.63.129.16",
                    "100.100.100.200",
                    "192.0.0.192",
                    "::ffff:169.254.169.254",
                    "64:ff9b::a9fe:a9fe",
                    "2002:a9fe:a9fe::1",
                ],
            ),
            (
                C::Private,
                &[
                    "10.0.0.1",
                    "10.255.255.255",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.0.1",
                    "fc00::1",
                    "fdff::1",
                    "::ffff:10.0.0.1",
                    "64:ff9b::a00:1",
                    "64:ff9b:1::1",
                    "2002:c0a8:1::1",
                ],
            ),
            (C::CarrierNat, &["100.64.0.1", "100.127.255.255", "64:ff9b::6440:1"]),
            (C::Multicast, &["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"]),
            (
                C::Reserved,
                &[
                    "192.0.0.8",
                    "192.0.2.1",
                    "192.88.99.1",
                    "198.18.0.1",
                    "198.19.255.255",
                    "198.51.100.1",
                    "203.0.113.1",
                    "240.0.0.1",
                    "255.255.255.255",
                    "2001::1",
                    "2001:db8::1",
                    "3fff::1",
                    "100::1",
                    "::7f00:1",
                    "4000::1",
                    "fec0::1",
                ],
            ),
        ];
        for (class, addresses) in table {
            for address in addresses {
                assert_eq!(judged(address, &[]), Err(class), "{address}");
                let canonical = address.parse::<IpAddr>().unwrap().to_canonical().to_string();
                assert!(judged(address, &[&canonical]).is_ok(), "{address} is allowed by its own address");
            }
        }
    }

    #[test]
    fn a_range_allows_what_is_in_it_and_never_the_metadata_address_beside() {
        assert!(judged("10.1.2.3", &["192.168.0.0/16", "10.0.0.0/8"]).is_ok());
        assert_eq!(judged("11.0.0.1", &["10.0.0.0/8"]), Ok("11.0.0.1".parse().unwrap()));
        assert_eq!(judged("10.1.2.3", &["10.1.2.4/31", "fd00::/8"]), Err(AddressClass::Private));
        assert!(judged("fd00::7", &["fd00::/8"]).is_ok());
        assert_eq!(judged("169.254.169.254", &["169.254.0.0/16", "0.0.0.0/0"]), Err(AddressClass::Metadata));
        assert_eq!(judged("fd00:ec2::254", &["fd00::/8", "::/0"]), Err(AddressClass::Metadata));
        // An IPv4 range says nothing of IPv6, mapped addresses excepted.
        assert_eq!(judged("64:ff9b::a00:1", &["10.0.0.0/8"]), Err(AddressClass::Private));
        assert!(judged("::ffff:10.0.0.1", &["10.0.0.0/8"]).is_ok());
    }

    #[test]
    fn ranges_are_read_strictly() {
        for good in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::/8", "192.0.2.1/32"] {
            assert_eq!(good.parse::<AddressRange>().unwrap().to_string(), good);
        }
        assert_eq!("192.0.2.1".parse::<AddressRange>().unwrap().to_string(), "192.0.2.1/32");
        for bad in ["", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/+8", "10/8", "10.0.0.0/8/8", "localhost", "10.0.0.0/256"]
        {
            assert!(matches!(bad.parse::<AddressRange>(), Err(AddressRangeError::Malformed { .. })), "{bad}");
        }
        let error = "10.1.2.3/8".parse::<AddressRange>().unwrap_err();
        assert!(error.to_string().contains("10.0.0.0/8"), "{error}");
    }
}
