//! What has changed of what is known. Pure.

use std::collections::BTreeSet;

/// What changed in an index.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Changes<T> {
    /// Nothing.
    #[default]
    None,
    /// These.
    Some(BTreeSet<T>),
    /// There is a new list: anything.
    All,
}

impl<T: Ord> Changes<T> {
    /// One more.
    pub(crate) fn add(&mut self, changed: T) {
        match self {
            Self::None => *self = Self::Some(BTreeSet::from([changed])),
            Self::Some(before) => {
                before.insert(changed);
            }
            Self::All => {}
        }
    }

    /// What it was; it is nothing then.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}
