//! A node agent of one test: `signet agent run`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{Ca, Cli, CliOutput, JoinToken, Process, TestBed, eventually, http_get, signet_binary};

/// What a test wants of its agent beyond the usual.
#[derive(Clone, Debug, Default)]
pub struct AgentOptions {
    /// The fingerprint to pin instead of the token's own.
    pub fingerprint: Option<String>,
    /// Where it finds the CA instead of its address.
    pub ca_address: Option<SocketAddr>,
    /// Where it finds the replicas of the CA; none: it knows one address.
    pub ca_addresses: Vec<SocketAddr>,
    /// How much it logs; `None` is all that tests want to see.
    pub log_level: Option<String>,
    /// Lines put before the first table of the configuration file.
    pub keys: String,
    /// Lines added to the configuration file.
    pub extra: String,
}

/// A running agent.
pub struct Agent {
    /// The process.
    pub process: Process,
    /// The node's name.
    pub node: String,
    directory: PathBuf,
    telemetry: SocketAddr,
}

impl Agent {
    /// Makes a token, writes a configuration, starts the agent and waits until it is ready.
    pub async fn start(bed: &TestBed, ca: &Ca, node: &str) -> Self {
        Self::start_with(bed, ca, node, AgentOptions::default()).await
    }

    /// The same with options.
    pub async fn start_with(bed: &TestBed, ca: &Ca, node: &str, options: AgentOptions) -> Self {
        let agent = Self::launch(bed, ca, node, &ca.create_token(node), options).await;
        agent.ready().await;
        agent
    }

    /// Starts an agent with a given token; it need not become ready.
    pub async fn launch(bed: &TestBed, ca: &Ca, node: &str, token: &JoinToken, options: AgentOptions) -> Self {
        Self::configure(bed, ca, node, token, options);
        Self::run(bed.path(), node).await
    }

    /// Writes the configuration and the token; says where the configuration is.
    pub fn configure(bed: &TestBed, ca: &Ca, node: &str, token: &JoinToken, options: AgentOptions) -> PathBuf {
        let directory = bed.path();
        let AgentOptions { fingerprint, ca_address, ca_addresses, log_level, keys, extra } = options;
        let addresses: Vec<_> = ca_addresses.iter().map(ToString::to_string).collect();
        let where_the_ca_is = match addresses.as_slice() {
            [] => format!("ca_address = \"{}\"", ca_address.unwrap_or(ca.address)),
            several => format!("ca_addresses = {several:?}"),
        };
        let token_file = bed.write(&format!("{node}-token"), &token.token);
        std::fs::set_permissions(&token_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("our own file");
        let content = format!(
            "trust_domain = \"{trust_domain}\"\n\
             state_dir = \"{state}\"\n\
             {where_the_ca_is}\n\
             ca_fingerprint = \"{fingerprint}\"\n\
             join_token_file = \"{token}\"\n\
             api_socket = \"{api}\"\n\
             admin_socket = \"{admin}\"\n\
             {keys}\n\
             [telemetry]\n\
             address = \"127.0.0.1:0\"\n\
             [log]\n\
             level = \"{log_level}\"\n\
             {extra}\n",
            trust_domain = ca.trust_domain,
            state = directory.join(format!("{node}-state")).display(),
            log_level = log_level.as_deref().unwrap_or("debug"),
            fingerprint = fingerprint.unwrap_or_else(|| token.ca_fingerprint.clone()),
            token = token_file.display(),
            api = directory.join(format!("{node}-public/api.sock")).display(),
            admin = directory.join(format!("{node}-admin.sock")).display(),
        );
        bed.write(&format!("{node}.toml"), &content)
    }

    /// Starts an agent that was configured.
    pub async fn run(directory: &Path, node: &str) -> Self {
        let mut command = Command::new(signet_binary());
        command.args(["agent", "run", "-o", "json", "--config"]).arg(directory.join(format!("{node}.toml")));
        let mut process = Process::start(node, &mut command, directory);
        let line: Value = serde_json::from_str(&process.first_line().await).expect("agent run -o json prints JSON");
        let telemetry =
            line["telemetry"].as_str().and_then(|text| text.parse().ok()).expect("agent run names its telemetry address");
        Self { process, node: node.to_owned(), directory: directory.to_owned(), telemetry }
    }

    /// Starts it again after it was stopped or killed.
    pub async fn start_again(&mut self) {
        *self = Self::run(&self.directory.clone(), &self.node.clone()).await;
    }

    /// The socket that workloads and proxies use.
    #[must_use]
    pub fn api_socket(&self) -> PathBuf {
        self.directory.join(format!("{}-public/api.sock", self.node))
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.directory.join(format!("{}-state", self.node))
    }

    /// Runs an operator's command at this agent, with `-o json`.
    #[must_use]
    pub fn operate(&self, arguments: &[&str]) -> CliOutput {
        let socket = self.directory.join(format!("{}-admin.sock", self.node));
        Cli::run(&[arguments, &["--socket", socket.to_str().expect("a path of ours is text"), "-o", "json"]].concat())
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> String {
        http_get(self.telemetry, "/metrics").await.body
    }

    /// One sample of `/metrics`, by its name and labels as served.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.metrics().await;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }

    /// Where `/metrics`, `/livez` and `/readyz` are.
    #[must_use]
    pub fn telemetry(&self) -> SocketAddr {
        self.telemetry
    }

    /// Status and text of `/readyz`.
    pub async fn readiness(&self) -> (u16, String) {
        let answer = http_get(self.telemetry, "/readyz").await;
        (answer.status, answer.body)
    }

    /// Waits until it holds so many identities. A node that is ready need not know of its entries yet.
    pub async fn holds(&self, identities: u32) {
        let held = "signet_agent_identities{state=\"available\"}";
        eventually(&format!("agent {} to hold {identities} identities", self.node), async || {
            (self.metric(held).await == Some(f64::from(identities))).then_some(())
        })
        .await;
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&self) {
        eventually(&format!("agent {} to be ready", self.node), async || (self.readiness().await.0 == 200).then_some(())).await;
    }
}
