//! JWT-SVIDs: how one is made, and the desk where they are asked for.
//!
//! Who may have one is [`crate::admission`]'s, as for certificates. The order of [`issuance`] is in its types: what was not
//! recorded cannot be signed.

pub(crate) mod desk;
pub mod issuance;
