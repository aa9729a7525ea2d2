//! Whose request it is, where trusted hops stand between: `x-forwarded-for`.

use std::net::IpAddr;

use super::Headers;
use crate::pattern::canonical_address;

/// The address of the client, for [`super::Connection::remote_ip`]: that of the connection where no hop is trusted, or else the one that
/// the outermost of so many trusted hops told (Envoy `xff_num_trusted_hops` with `use_remote_address`).
///
/// What stands further to the left was written by the client and tells nothing. Where too little stands there, or no address does, the
/// address of the connection counts. Addresses of private networks are trusted no more than others.
#[must_use]
pub fn client_address(connected: IpAddr, headers: Headers<'_>, trusted_hops: usize) -> IpAddr {
    let told: Vec<&[u8]> = headers.lines("x-forwarded-for").flat_map(|value| value.split(|byte| *byte == b',')).collect();
    let outermost = told.len().checked_sub(trusted_hops).filter(|_| trusted_hops > 0).and_then(|at| told.get(at));
    let address = outermost.and_then(|text| std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok());
    canonical_address(address.unwrap_or(connected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_trusted_hop_tells() {
        for (lines, hops, expected) in [
            (&["1.2.3.4"][..], 0, "10.1.1.1"),
            (&["1.2.3.4"], 1, "1.2.3.4"),
            (&["9.9.9.9, 1.2.3.4"], 1, "1.2.3.4"),
            (&["9.9.9.9", "1.2.3.4"], 1, "1.2.3.4"),
            (&["9.9.9.9", "1.2.3.4"], 2, "9.9.9.9"),
            (&["9.9.9.9,1.2.3.4,10.0.0.7"], 2, "1.2.3.4"),
            (&["1.2.3.4"], 2, "10.1.1.1"),
            (&[], 1, "10.1.1.1"),
            (&["9.9.9.9, junk"], 1, "10.1.1.1"),
            (&["9.9.9.9,"], 1, "10.1.1.1"),
            (&["::ffff:1.2.3.4"], 1, "1.2.3.4"),
            (&["2001:db8::1"], 1, "2001:db8::1"),
        ] {
            let lines: Vec<(&[u8], &[u8])> =
                lines.iter().map(|value| (b"X-Forwarded-For".as_slice(), value.as_bytes())).collect();
            let found = client_address("::ffff:10.1.1.1".parse().unwrap(), Headers(&lines), hops);
            assert_eq!(found.to_string(), expected, "{hops}");
        }
    }
}
