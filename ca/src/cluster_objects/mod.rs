//! What keeping objects of a cluster as they should be takes, whatever they are: what has changed, what is looked at when, and how
//! fast something is done again that somebody undoes. `trust` keeps those by which others learn whom to trust.

pub(crate) mod changes;
pub(crate) mod healing;
pub(crate) mod namespaces;
pub(crate) mod queue;
pub(crate) mod reconciler;
