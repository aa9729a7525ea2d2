//! Claiming that something was recorded.
use ca::issuance::Recorded;
use pki::{SerialNumber, Unsigned};

fn claims(unsigned: Unsigned, serial: SerialNumber) -> Recorded {
    Recorded { unsigned, serial }
}

fn main() {}
