//! Claiming that something was linted.
use ca::issuance::{Intent, Linted};
use pki::Unsigned;

fn claims(intent: Intent, unsigned: Unsigned) -> Linted {
    Linted { intent, unsigned }
}

fn main() {}
