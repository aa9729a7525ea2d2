//! What the strings of a policy match: text with a star at one end, addresses, service accounts, principals of tokens.
//!
//! A pattern is parsed once, when its policy is read. None is a regular expression, and none is made into one: an identifier with a dot
//! in it names itself only (CVE-2026-39350).

mod account;
mod address;
mod leaning;
mod port;
mod request_principal;
mod text;

pub use account::{AccountPattern, AccountPatternError};
pub use address::{AddressRange, AddressRangeError, canonical_address};
pub use leaning::Leaning;
pub use port::{PortError, parse_port};
pub use request_principal::RequestPrincipalPattern;
pub use text::{Pattern, PatternError};
