//! Signing one record twice.
use ca::issuance::{Recorded, Verification, sign};
use pki::PrivateKey;

fn signs_twice(recorded: Recorded, key: &PrivateKey) {
    let first = sign(recorded, key, Verification::Always);
    let second = sign(recorded, key, Verification::Always);
    drop((first, second));
}

fn main() {}
