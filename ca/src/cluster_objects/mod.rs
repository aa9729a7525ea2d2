//! What keeping objects of a cluster as they should be takes, whatever they are: what has changed, what is looked at when, how
//! fast something is done again that somebody undoes, and since when all show what they should. `trust` keeps those by which others learn whom to
//! trust.

pub(crate) mod changes;
pub(crate) mod healing;
pub(crate) mod namespaces;
pub(crate) mod queue;
pub(crate) mod reconciler;
pub(crate) mod shown;
pub(crate) mod trust;
