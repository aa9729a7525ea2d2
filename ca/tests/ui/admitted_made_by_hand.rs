//! Claiming that somebody was admitted.
use ca::admission::{Admitted, LeafSubject};
use ca::records::Reason;

fn claims(subject: LeafSubject) -> Admitted {
    Admitted { subject, caller: String::new(), reason: Reason::Serving, provenance: None }
}

fn main() {}
