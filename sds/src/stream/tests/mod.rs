//! Tests of the state machine, with real certificates.

mod delta;
mod fetch;
mod files;
pub(crate) mod fixture;
mod foreign;
mod lists;
mod names;
mod pairs;
mod progress;
mod random;
mod random_delta;
mod rejections;
mod revoked;
mod sequence;
