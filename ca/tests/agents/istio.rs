//! Callers in Istio's way: with a token, then with the certificate that it gave them.

mod caller;
mod refusals;
mod renewal;

use caller::{Caller, Issuer};
