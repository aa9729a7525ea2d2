//! When to renew.

use std::time::Duration;

use crate::{SerialNumber, Timestamp, sha256};

/// When to renew a certificate: after half of its life from `issued`, the time of the CA's answer (never the back-dated
/// notBefore), to `not_after`, moved by up to 10 % of that half either way. The shift is drawn from SHA-256 of the serial,
/// so it is the same however often it is asked, and the renewals of many certificates issued at once spread out.
///
/// A certificate that has ended when it is issued is due at once.
#[must_use]
pub fn renew_at(issued: Timestamp, not_after: Timestamp, serial: &SerialNumber) -> Timestamp {
    let half = not_after.since(issued).as_secs() / 2;
    let widest = half / 10;
    let [a, b, c, d, e, f, g, h, ..] = sha256(serial.as_bytes());
    let draw = u128::from(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
    // The high half of the product is an even choice among 0 to 2 * widest seconds.
    let shift = u64::try_from((draw * u128::from(2 * widest + 1)) >> 64).expect("below the factor, which fits");
    issued.plus(Duration::from_secs(half - widest + shift))
}

#[cfg(test)]
mod tests;
