//! Callers in Istio's way: a bearer token or a certificate of ours, a PEM request, a certificate for whoever they proved to be.
//!
//! Owns what a request may say, who its caller is, whether that caller may have a certificate now, and how often. Knows no wire: the
//! services are in `rpc::istio`.

mod callers;
mod credential;
mod error;
mod impersonation;
mod request;

pub(crate) use callers::{CallerParts, IstioCallers, NodeProxies};
pub(crate) use credential::Credential;
pub(crate) use error::CallError;
pub(crate) use request::{Metadata, SigningRequest};
