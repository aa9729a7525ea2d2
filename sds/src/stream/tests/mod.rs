//! Tests of the state machine, with real certificates.

pub(crate) mod fixture;
mod names;
mod pairs;
mod random;
mod rejections;
mod sequence;
