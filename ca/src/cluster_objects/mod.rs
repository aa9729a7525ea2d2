//! What keeping objects of a cluster as they should be takes, whatever they are: what has changed, what is looked at when, how
//! fast something is done again that somebody undoes, and since when all show what they should. `secrets` keeps the Secrets of service accounts, `trust` what
//! others learn whom to trust by. `entries` goes the other way: there the objects say how things should be.

pub(crate) mod changes;
pub(crate) mod entries;
pub(crate) mod healing;
pub(crate) mod namespaces;
pub(crate) mod queue;
pub(crate) mod reconciler;
pub(crate) mod secrets;
pub(crate) mod shown;
pub(crate) mod trust;
pub(crate) mod watching;
