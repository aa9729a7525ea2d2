//! Private keys in a PKCS #11 token: made there, named by their public halves, asked for signatures, destroyed. They never leave it.
//!
//! The vendor's module runs in this process and its calls block, so that each runs on one of a few threads of its own ([`Token`]).
//! What a token gives is verified before anybody sees it ([`TokenKey`]).

mod config;
mod connection;
mod error;
mod key;
mod module_file;
mod objects;
mod tally;
mod token;
mod workers;

pub use config::{MAX_SESSIONS, TokenConfig};
pub use error::{Fault, TokenError};
pub use key::TokenKey;
pub use tally::Tally;
pub use token::{KeyListing, Token};
