//! Hostile input as data: corpora in `testdata`, each file with the one error that must refuse it, the generator that made them,
//! and their replay through the readers that Signet uses.

#![expect(clippy::panic, clippy::unwrap_used, reason = "this is a test: it fails by them")]

mod corpus;
mod csr;
mod der;
mod keys;
mod svid;
