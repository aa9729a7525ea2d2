//! The harness of the end-to-end suite: real processes on loopback, ended with the test that started them.

#![expect(clippy::panic, clippy::print_stderr, reason = "the harness fails tests, and says on standard error why")]

mod agent;
mod apiserver;
mod authority;
mod cli;
mod envoy;
mod http;
mod memory;
mod node_client;
mod passage;
mod peer;
mod postgres;
mod process;
mod provisioner;
mod raw_http2;
mod requirement;
mod runbook;
mod sds_client;
mod simulated_fleet;
mod softhsm;
mod strace;
mod sync_trace;
mod test_bed;
mod token_issuer;
mod traffic;
mod vault_server;
mod wait;
mod web_issuer;
mod workload_client;

pub use self::{envoy::Envoy, passage::Passage, test_bed::TestBed, token_issuer::TokenIssuer};
pub use agent::{Agent, AgentOptions};
pub use apiserver::{ApiAnswer, ApiClient, ApiServer};
pub use authority::{Ca, CaOptions, JoinToken};
pub use cli::{Cli, CliOutput, signet_binary};
pub use http::{HttpConnection, HttpResponse, HttpStream, http_get, http_get_unix, nobody_listens};
pub use http::{HttpService, STREAM_EVERY, STREAM_PATH};
pub use memory::{SecretForm, found_in_memory};
pub use node_client::{AttestedNode, CaConnection, attested_connection, bare_connection, hello, issue, svid_of};
pub use peer::{Peer, PeerKind};
pub use postgres::{Database, PostgresServer};
pub use process::Process;
pub use provisioner::{Provisioner, put_provisioned};
pub use raw_http2::{Frame, Heard, RawHttp2, request_block};
pub use requirement::{Requirement, istio_peer, limbo, needs, nginx_binary};
pub use runbook::{Runbook, RunbookHost, RunbookMachine, RunbookStep};
pub use sds_client::{SECRET_TYPE_URL, SdsClient, SdsResponse, SdsSecret, SdsStream};
pub use simulated_fleet::{FleetAddresses, SimulatedFleet, authority_admin};
pub use softhsm::{SoftHsm, TOKEN_PIN, TokenFault};
pub use strace::{Strace, traced};
pub use sync_trace::{Answer, SyncFindings, SyncTrace};
pub use traffic::{Traffic, TrafficReport, TrafficShape};
pub use vault_server::{VAULT_JWT, VAULT_ROLE_ID, VAULT_SECRET_ID, VaultCall, VaultMood, VaultServer};
pub use wait::{eventually, eventually_within, on_this_machine};
pub use web_issuer::{WebIssuer, server_files_at, web_server_files};
pub use workload_client::{WorkloadClient, WorkloadSvid, WorkloadSvidStream};
