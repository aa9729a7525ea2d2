//! A CA in the same process that can be slow, refuse, or answer wrongly, over real TLS with a real hierarchy.

mod authority;
mod ca;
pub(crate) mod caller;
pub(crate) mod held;
mod istio;
pub(crate) mod jwt;
mod service;

pub(crate) use authority::FakeAuthority;
pub(crate) use ca::{Answers, FakeCa};
pub(crate) use istio::IstioCall;
