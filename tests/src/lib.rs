//! The harness of the end-to-end suite: real processes on loopback, ended with the test that started them.

#![expect(clippy::panic, clippy::print_stderr, reason = "the harness fails tests, and says on standard error why")]

mod agent;
mod authority;
mod cli;
mod envoy;
mod http;
mod http_service;
mod memory;
mod node_client;
mod peer;
mod process;
mod provisioner;
mod raw_http2;
mod requirement;
mod sds_client;
mod strace;
mod sync_trace;
mod test_bed;
mod token_issuer;
mod token_signer;
mod traffic;
mod wait;
mod web_issuer;
mod workload_client;

pub use agent::{Agent, AgentOptions};
pub use authority::{Ca, CaOptions, JoinToken};
pub use cli::{Cli, CliOutput, signet_binary};
pub use envoy::Envoy;
pub use http::{HttpConnection, HttpResponse, http_get, http_get_unix};
pub use http_service::HttpService;
pub use memory::{SecretForm, found_in_memory};
pub use node_client::{AttestedNode, CaConnection, attested_connection, bare_connection, hello, issue, svid_of};
pub use peer::{Peer, PeerKind};
pub use process::Process;
pub use provisioner::{Provisioner, put_provisioned};
pub use raw_http2::{Frame, Heard, RawHttp2, request_block};
pub use requirement::{Requirement, istio_peer, limbo, needs, nginx_binary};
pub use sds_client::{SECRET_TYPE_URL, SdsClient, SdsResponse, SdsSecret, SdsStream};
pub use strace::{Strace, traced};
pub use sync_trace::{Answer, SyncFindings, SyncTrace};
pub use test_bed::TestBed;
pub use token_issuer::TokenIssuer;
pub use traffic::{Traffic, TrafficReport, TrafficShape};
pub use wait::{eventually, eventually_within};
pub use web_issuer::WebIssuer;
pub use workload_client::{WorkloadClient, WorkloadSvid, WorkloadSvidStream};
