//! Who may call what: mesh authentication and authorisation policies, read, compiled, evaluated and explained.
//!
//! Pure: no I/O, no clock, no randomness, no cryptography. Documents are values, requests are values, and a decision is a value with its
//! reason. What cannot be read is refused whole and never widens access.

pub mod admission;
pub mod authentication;
mod authorization;
pub mod client;
pub mod compile;
pub mod decision;
pub mod diagnostic;
mod document;
pub mod evaluation;
pub mod mesh;
pub mod objects;
pub mod path;
pub mod pattern;
pub mod request;
mod selection;
pub mod v1alpha1;

pub use diagnostic::{Code, Diagnostic, Severity, Subject};
pub use document::{Limits, Position};
