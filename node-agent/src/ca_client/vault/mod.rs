//! The PKI secrets engine of Vault or OpenBao as a provider: it signs by a role, and knows nothing else.
//!
//! `provider` keeps the identities of the configuration; [`checked_chain`] decides, without I/O, whether what was signed is what was asked
//! for: a role may allow more than this node wants, and whatever it adds is refused.

mod leaf;
mod provider;

pub use leaf::{AskedLeaf, checked_chain};
pub(crate) use provider::VaultProvider;
