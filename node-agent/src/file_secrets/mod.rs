//! Secrets from files of the node (`file-cert:<certificate>~<key>`, `file-root:<path>`), for callers that could read them themselves.
//!
//! Off unless an operator names directories. The agent reads with rights of its own, so it judges for each caller, each time, by the
//! descriptors of what it opens: `walk` how a path is opened, `reader` who may, `look` what the files hold, `worker` when they are
//! looked at again. What the caller's own mount namespace shows under a path is not asked: whoever mounts a directory into a
//! container lets its users have it, and whoever configures one here does the same.

mod look;
mod reader;
mod settings;
mod walk;
mod worker;

#[cfg(test)]
mod tests;

pub use settings::{FileLinks, FileSecretSettings};
pub(crate) use worker::FileSecretWorker;
