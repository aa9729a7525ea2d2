//! What is decided by, brought into a form in which the cost of a decision follows the rules that can match, and not those that are there.
//!
//! [`compile`] takes the objects of a mesh, [`PolicySet::view`] what one workload has of them, and [`evaluate()`] decides. An index leads
//! to the rules of a stage that can match, in their order, and misses none; whether one does match is for the same code to say that reads
//! objects as they are ([`crate::evaluation::decide`]). So the two may differ in nothing but time.

mod address_table;
mod affix_table;
mod evaluate;
mod index;
mod keys;
mod seen;
mod set;
mod view;

pub use evaluate::{Accepted, evaluate};
pub use index::Scratch;
pub use set::{PolicySet, compile};
pub use view::{View, ViewSize};
