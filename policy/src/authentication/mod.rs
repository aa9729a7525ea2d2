//! Who is asking: Istio PeerAuthentication for connections, Istio RequestAuthentication for tokens.

mod bearer;
mod peer;
mod token;

pub use bearer::is_cors_preflight;
pub(crate) use bearer::parameters;
pub(crate) use peer::counting;
pub use peer::{Chain, FirstBytes, Level, PeerMode, PortProtocol, chain, judge_connection, peer_mode};
pub(crate) use token::judge as judge_token;
pub use token::{TokenJudgement, TokenVerifier, judge_tokens, token_policies, token_rules};
