//! What Signet tells Envoy about itself.

mod bootstrap;

pub(crate) use bootstrap::bootstrap;

#[cfg(test)]
mod tests;
