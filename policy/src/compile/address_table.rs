//! Which of many ranges an address lies in.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::index::Hasher;
use crate::pattern::{AddressRange, canonical_address};

/// Ranges by their first address, and which lengths there are: a look-up for each length, of which there are 162 at most and few in
/// earnest.
#[derive(Debug, Default)]
pub(super) struct AddressTable {
    ranges: HashMap<AddressRange, usize, Hasher>,
    ipv4_lengths: Vec<u8>,
    ipv6_lengths: Vec<u8>,
}

impl AddressTable {
    /// Of ranges, each once and with the list that it leads to.
    pub(super) fn of(ranges: Vec<(AddressRange, usize)>) -> Self {
        let lengths = |ipv4: bool| -> Vec<u8> {
            let of_family = ranges.iter().filter(|(range, _)| range.is_ipv4() == ipv4).map(|(range, _)| range.length());
            of_family.collect::<BTreeSet<u8>>().into_iter().collect()
        };
        Self { ipv4_lengths: lengths(true), ipv6_lengths: lengths(false), ranges: ranges.into_iter().collect() }
    }

    /// The lists of all ranges that an address lies in.
    pub(super) fn each(&self, address: IpAddr, mut found: impl FnMut(usize)) {
        let address = canonical_address(address);
        let lengths = if address.is_ipv4() { &self.ipv4_lengths } else { &self.ipv6_lengths };
        for length in lengths {
            if let Some(list) = self.ranges.get(&AddressRange::new(address, *length)) {
                found(*list);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_ranges_of_an_address() {
        let texts = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.1", "0.0.0.0/0", "::/0", "fd00::/8", "11.0.0.0/8"];
        let ranges = texts.iter().enumerate().map(|(list, text)| (AddressRange::parse(text).unwrap(), list));
        let table = AddressTable::of(ranges.clone().collect());
        for address in ["10.1.1.1", "10.1.2.3", "10.9.9.9", "12.0.0.1", "::ffff:10.1.1.1", "fd00::1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            let mut found = Vec::new();
            table.each(address, |list| found.push(list));
            found.sort_unstable();
            let expected: Vec<usize> =
                ranges.clone().filter(|(range, _)| range.contains(address)).map(|(_, list)| list).collect();
            assert_eq!(found, expected, "{address}");
        }
    }
}
