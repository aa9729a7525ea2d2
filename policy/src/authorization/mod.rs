//! Who may do what: Istio AuthorizationPolicy, decided by reading the objects as they are.
//!
//! Nothing is compiled here: for each question every policy is read from its first rule to its last, in an order that does not depend on
//! the order they came in. What is faster has to agree with this.

mod aliases;
mod facts;
mod headers;
mod peers;
mod rule;
mod stages;

pub(crate) use aliases::{principal as principals_meant, trust_domain as trust_domains_meant};
pub(crate) use facts::{Facts, HttpFacts};
pub(crate) use headers::matches as matches_header;
pub(crate) use rule::Reading;
pub(crate) use stages::{Stages, place};
