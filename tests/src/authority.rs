//! A CA of one test: `signet ca init` and `signet ca run`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use ca::Moment;
use serde_json::Value;
use tokio::net::TcpSocket;

use crate::{Cli, CliOutput, Process, TestBed, eventually, http_get, signet_binary};

/// What a test wants of its CA beyond the usual.
#[derive(Clone, Debug)]
pub struct CaOptions {
    /// The trust domain.
    pub trust_domain: String,
    /// Default life of a leaf, such as "1h"; the maximum is 24 h.
    pub leaf_ttl: String,
    /// Life of an agent's SVID.
    pub agent_ttl: String,
    /// DNS names and IP addresses of its serving certificate.
    pub server_names: Vec<String>,
    /// How much it logs: all that tests want to see, unless its speed is measured.
    pub log_level: String,
    /// Lines added to the configuration file, such as a `[authority]` section.
    pub extra: String,
}

impl Default for CaOptions {
    fn default() -> Self {
        Self {
            trust_domain: "example.org".to_owned(),
            leaf_ttl: "1h".to_owned(),
            agent_ttl: "1h".to_owned(),
            server_names: Vec::new(),
            log_level: "debug".to_owned(),
            extra: String::new(),
        }
    }
}

/// A token as `token create -o json` gives it.
#[derive(Clone, Debug)]
pub struct JoinToken {
    /// The secret.
    pub token: String,
    /// SHA-256 of the root, hex.
    pub ca_fingerprint: String,
}

/// A running CA.
pub struct Ca {
    /// The process.
    pub process: Process,
    /// Where agents reach it.
    pub address: SocketAddr,
    /// The trust domain.
    pub trust_domain: String,
    /// Where its bundle endpoint is, when one is configured.
    pub federation: Option<SocketAddr>,
    directory: PathBuf,
    name: String,
    telemetry: SocketAddr,
    /// Keeps the address of one that was killed for its next start.
    kept: Option<TcpSocket>,
}

impl Ca {
    /// Writes a configuration, makes the authorities and starts the CA.
    pub async fn start(bed: &TestBed, options: CaOptions) -> Self {
        Self::start_named(bed, "ca", options).await
    }

    /// The same under a name of its own, for tests with two.
    pub async fn start_named(bed: &TestBed, name: &str, options: CaOptions) -> Self {
        let config = Self::configure(bed, name, "127.0.0.1:0", &options);
        let _made = Cli::run(&["ca".as_ref(), "init".as_ref(), "--config".as_ref(), config.as_os_str()]).ok();
        Self::run(bed.path(), name, &options.trust_domain).await
    }

    /// Writes the configuration file `<name>.toml` and says where.
    #[must_use]
    pub fn configure(bed: &TestBed, name: &str, listen: &str, options: &CaOptions) -> PathBuf {
        let directory = bed.path();
        let CaOptions { trust_domain, leaf_ttl, agent_ttl, server_names, log_level, extra } = options;
        let content = format!(
            "trust_domain = \"{trust_domain}\"\n\
             state_dir = \"{state}\"\n\
             listen = \"{listen}\"\n\
             admin_socket = \"{socket}\"\n\
             server_names = {server_names:?}\n\
             [leaf]\n\
             default_ttl = \"{leaf_ttl}\"\n\
             max_ttl = \"24h\"\n\
             agent_ttl = \"{agent_ttl}\"\n\
             [telemetry]\n\
             address = \"127.0.0.1:0\"\n\
             [log]\n\
             level = \"{log_level}\"\n\
             {extra}\n",
            state = directory.join(format!("{name}-state")).display(),
            socket = directory.join(format!("{name}-admin.sock")).display(),
        );
        bed.write(&format!("{name}.toml"), &content)
    }

    /// Starts a CA that was configured and initialised.
    pub async fn run(directory: &Path, name: &str, trust_domain: &str) -> Self {
        Self::run_under(&[], directory, name, trust_domain).await
    }

    /// The same by a command that runs it as its own process, such as [`crate::traced`]; `words` come before the path of the binary.
    pub async fn run_under(words: &[String], directory: &Path, name: &str, trust_domain: &str) -> Self {
        let mut command = match words.split_first() {
            None => Command::new(signet_binary()),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(signet_binary());
                command
            }
        };
        command.args(["ca", "run", "-o", "json", "--config"]).arg(directory.join(format!("{name}.toml")));
        Self::run_as(command, directory, name, trust_domain).await
    }

    /// Starts a program that serves as a CA.
    async fn run_as(mut command: Command, directory: &Path, name: &str, trust_domain: &str) -> Self {
        let mut process = Process::start(name, &mut command, directory);
        let line: Value = serde_json::from_str(&process.first_line().await).expect("ca run -o json prints JSON");
        let address = |key: &str| -> SocketAddr {
            let text = line[key].as_str().unwrap_or_else(|| panic!("ca run names {key}: {line}"));
            text.parse().expect("it is an address")
        };
        Self {
            address: address("listening"),
            telemetry: address("telemetry"),
            federation: line["federation"].as_str().map(|text| text.parse().expect("it is an address")),
            process,
            trust_domain: trust_domain.to_owned(),
            directory: directory.to_owned(),
            name: name.to_owned(),
            kept: None,
        }
    }

    /// Ends the CA hard and keeps its address for the next start.
    pub async fn kill_hard(&mut self) {
        self.process.kill_hard().await;
        // Bound and not listened at, in a way that lets the next one bind it too.
        let socket = TcpSocket::new_v4().and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(self.address)?;
            Ok(socket)
        });
        self.kept = socket.ok();
    }

    /// Starts it again at the address it had.
    pub async fn start_again(&mut self) {
        self.keep_address();
        *self = Self::run(&self.directory, &self.name, &self.trust_domain).await;
    }

    /// The same by the program `ca-ends-at-step` of this crate at `program`, which ends itself at this moment of the next rotation.
    pub async fn start_to_end_at(&mut self, program: &Path, moment: Moment) {
        self.keep_address();
        let (when, step) = match moment {
            Moment::Before(step) => ("before", step),
            Moment::After(step) => ("after", step),
        };
        let mut command = Command::new(program);
        command.arg(self.directory.join(format!("{}.toml", self.name))).args([when, &format!("{step:?}")]);
        *self = Self::run_as(command, &self.directory, &self.name, &self.trust_domain).await;
    }

    fn keep_address(&self) {
        let config = self.directory.join(format!("{}.toml", self.name));
        let text = std::fs::read_to_string(&config).expect("the configuration is there");
        let fixed = text.replacen("listen = \"127.0.0.1:0\"", &format!("listen = \"{}\"", self.address), 1);
        std::fs::write(&config, fixed).expect("the configuration is writable");
    }

    /// Runs an operator's command at this CA, with `-o json`.
    #[must_use]
    pub fn operate(&self, arguments: &[&str]) -> CliOutput {
        let socket = self.admin_socket();
        let socket = socket.to_str().expect("a path of ours is text");
        Cli::run(&[arguments, &["--socket", socket, "-o", "json"]].concat())
    }

    /// The admin socket.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.directory.join(format!("{}-admin.sock", self.name))
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.directory.join(format!("{}-state", self.name))
    }

    /// The root certificate, PEM.
    #[must_use]
    pub fn root_certificate(&self) -> PathBuf {
        self.state_dir().join("root-cert.pem")
    }

    /// Creates an entry and returns its id.
    #[track_caller]
    pub fn create_entry(&self, spiffe_id: &str, selectors: &[&str], node: &str) -> String {
        self.create_entry_with(spiffe_id, selectors, node, &[])
    }

    /// The same with further arguments, such as `--ttl`.
    #[track_caller]
    pub fn create_entry_with(&self, spiffe_id: &str, selectors: &[&str], node: &str, further: &[&str]) -> String {
        let mut arguments = vec!["entry", "create", "--spiffe-id", spiffe_id, "--node", node];
        arguments.extend(further);
        for selector in selectors {
            arguments.extend(["--selector", selector]);
        }
        let entry = self.operate(&arguments).ok().json();
        entry["id"].as_str().expect("an entry has an id").to_owned()
    }

    /// Makes a join token.
    #[track_caller]
    #[must_use]
    pub fn create_token(&self, node: &str) -> JoinToken {
        let answer = self.operate(&["token", "create", "--node", node]).ok().json();
        let field = |key: &str| answer[key].as_str().unwrap_or_else(|| panic!("token create names {key}: {answer}")).to_owned();
        JoinToken { token: field("token"), ca_fingerprint: field("ca_fingerprint") }
    }

    /// Serials of all certificates whose intent was recorded, lower-case hex, oldest first.
    #[track_caller]
    #[must_use]
    pub fn recorded_serials(&self) -> Vec<String> {
        let events = self.events();
        events.iter().filter_map(|event| event["body"]["serial"].as_str().map(str::to_owned)).collect()
    }

    /// Serials of certificates whose intent was recorded and whose result was not: nobody knows whether anyone holds them.
    #[track_caller]
    #[must_use]
    pub fn unanswered_serials(&self) -> Vec<String> {
        let mut open = std::collections::BTreeSet::new();
        for event in self.events() {
            let Some(serial) = event["body"]["serial"].as_str() else { continue };
            match event["kind"].as_str() {
                Some("certificate_intended") => drop(open.insert(serial.to_owned())),
                Some("certificate_signed") => drop(open.remove(serial)),
                _ => {}
            }
        }
        open.into_iter().collect()
    }

    #[track_caller]
    fn events(&self) -> Vec<Value> {
        let events = self.operate(&["audit", "tail", "-n", "1000000"]).ok().stdout;
        serde_json::from_str(&events).expect("audit tail -o json prints a list")
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> String {
        http_get(self.telemetry, "/metrics").await.body
    }

    /// Where `/metrics`, `/livez` and `/readyz` are.
    #[must_use]
    pub fn telemetry(&self) -> SocketAddr {
        self.telemetry
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&self) {
        eventually("the CA to be ready", async || (http_get(self.telemetry, "/readyz").await.status == 200).then_some(())).await;
    }
}
