//! Bringing the system up, in the order in which an operator would: CA, agent, entries, workloads. Everything that has a
//! verb is done by that verb, in a process of its own.

use std::fmt::Write;
use std::time::Duration;

use proto::v1::AgentStatusRequest;
use serde_json::Value;

use super::events::Event;
use super::home::{Home, NODE, api_id, web_id};
use super::processes::{Actor, Happening, Troupe, verb};
use super::report::Report;
use crate::admin_client::{agent_admin, request};
use crate::failure::Failure;
use crate::output_format::OutputFormat;

/// The system as far as it is up.
pub(super) struct Stage {
    home: Home,
    report: Report,
    troupe: Troupe,
    ca_address: String,
    api_address: String,
}

impl Stage {
    pub(super) fn new(home: Home, report: Report, ttl: &str) -> Result<Self, Failure> {
        home.write_ca_config(ttl)?;
        Ok(Self { home, report, troupe: Troupe::new(), ca_address: String::new(), api_address: String::new() })
    }

    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    pub(super) fn report(&mut self) -> &mut Report {
        &mut self.report
    }

    pub(super) fn format(&self) -> OutputFormat {
        self.report.format()
    }

    pub(super) fn is_for_people(&self) -> bool {
        self.format() == OutputFormat::Table
    }

    pub(super) fn ca_address(&self) -> &str {
        &self.ca_address
    }

    pub(super) fn api_address(&self) -> &str {
        &self.api_address
    }

    pub(super) fn pid_of(&self, actor: Actor) -> Option<u32> {
        self.troupe.pid_of(actor)
    }

    /// The next thing that happens; `Err` never (a process that ended is a happening without an event).
    pub(super) async fn next(&mut self) -> Result<Happening, Failure> {
        Ok(self.troupe.next().await)
    }

    /// Why an actor is gone.
    pub(super) async fn ended(&mut self, actor: Actor) -> Failure {
        self.troupe.obituary(actor).await
    }

    pub(super) async fn dismiss(&mut self, actor: Actor) {
        self.troupe.dismiss(actor).await;
    }

    pub(super) fn conclude(&mut self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        self.report.conclude(outcome)
    }

    /// Ends every process, then (when it is temporary) the state directory goes.
    pub(super) async fn end(self) {
        self.troupe.end().await;
    }

    /// Waits until `wanted` picks something out of what happens. Any process that ends meanwhile is a failure.
    pub(super) async fn until<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(Actor, &Event) -> Option<T>,
    ) -> Result<T, Failure> {
        let mut seen = Vec::new();
        let waiting = async {
            loop {
                let Happening { actor, event } = self.troupe.next().await;
                let Some(event) = event else { return Err(self.troupe.obituary(actor).await) };
                if let Some(found) = wanted(actor, &event) {
                    return Ok(found);
                }
                seen.push(format!("{actor}: {event}"));
            }
        };
        match tokio::time::timeout(within, waiting).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let last = seen.iter().rev().take(3).rev().fold(String::new(), |mut text, line| {
                    write!(text, "\n{line}").expect("writing to a String succeeds");
                    text
                });
                let log = self.troupe.log_of(Actor::Agent);
                Err(Failure::failed(format!("no {what} within {} s", within.as_secs()))
                    .because(format!("last that happened:{last}\n{log}")))
            }
        }
    }

    /// CA up and ready.
    pub(super) async fn start_ca(&mut self) -> Result<(), Failure> {
        self.report.begin("CA up and ready");
        let config = self.home.ca_config().display().to_string();
        if !self.home.has_authority() {
            verb(self.home.program(), &["ca", "init", "--config", &config]).await?;
        }
        let arguments = ["ca", "run", "--config", &config, "-o", "json"].map(str::to_owned);
        let log = self.home.log_of("ca");
        self.troupe.start(Actor::Ca, self.home.program(), &arguments, log, None).await?;
        let listening = self
            .until("line about the CA's sockets", START_DEADLINE, |actor, event| match (actor, event) {
                (Actor::Ca, Event::Bound { addresses }) => Some(text_at(addresses, "listening")),
                _ => None,
            })
            .await?;
        self.ca_address = listening;
        let status = self.ready_status().await?;
        let fingerprint = text_at(&status, "root_fingerprint");
        self.home.write_agent_config(&self.ca_address, &fingerprint)?;
        self.report.tick(&[format!("listens on {}, root {fingerprint}", self.ca_address)])
    }

    /// Agent attested: by a token the first time, by its stored identity after.
    pub(super) async fn start_agent(&mut self) -> Result<(), Failure> {
        self.report.begin("agent attested");
        let config = self.home.agent_config().display().to_string();
        let mut arguments = ["agent", "run", "--config", &config, "-o", "json"].map(str::to_owned).to_vec();
        let mut token = None;
        if !self.home.has_agent_identity() {
            let answer = self.ca_verb(&["token", "create", "--node", NODE]).await?;
            token = Some(text_at(&answer, "token"));
            arguments.extend(["--join-token-file".to_owned(), "-".to_owned()]);
        }
        let log = self.home.log_of("agent");
        self.troupe.start(Actor::Agent, self.home.program(), &arguments, log, token.as_deref()).await?;
        self.until("line about the agent's sockets", START_DEADLINE, |actor, event| match (actor, event) {
            (Actor::Agent, Event::Bound { .. }) => Some(()),
            _ => None,
        })
        .await?;
        let id = self.ready_agent().await?;
        self.report.tick(&[format!("as {id}")])
    }

    /// Identities issued, over SDS, to both workloads.
    pub(super) async fn start_workloads(&mut self) -> Result<(), Failure> {
        self.report.begin("identities issued over SDS");
        let uid = nix::unistd::Uid::effective();
        let present = self.ca_verb(&["entry", "list", "--node", NODE]).await?;
        let present: Vec<_> = present.as_array().cloned().unwrap_or_default();
        for (name, id) in [("api", api_id()), ("web", web_id())] {
            let program = self.home.copy_of_program(name)?;
            if present.iter().any(|entry| text_at(entry, "spiffe_id") == id) {
                continue;
            }
            let by_uid = format!("unix:uid:{uid}");
            let by_path = format!("unix:path:{}", program.display());
            let selectors = ["--selector", &by_uid, "--selector", &by_path];
            self.ca_verb(&[&["entry", "create", "--spiffe-id", &id, "--node", NODE], &selectors[..]].concat()).await?;
        }
        let api = self.start_workload(Actor::Api, "api", &["--expect", &web_id()]).await?;
        let address = self
            .until("port of the API", ISSUE_DEADLINE, |actor, event| match (actor, event) {
                (Actor::Api, Event::Listening { address }) => Some(address.clone()),
                _ => None,
            })
            .await?;
        self.api_address.clone_from(&address);
        let web = self.start_workload(Actor::Web, "web", &["--expect", &api_id(), "--connect", &address]).await?;
        let identity = self
            .until("identity of web", ISSUE_DEADLINE, |actor, event| match (actor, event) {
                (Actor::Web, Event::Identity { .. }) => Some(event.to_string()),
                _ => None,
            })
            .await?;
        self.report.tick(&[format!("api (process {api}) listens on {address}"), format!("web (process {web}) {identity}")])
    }

    /// Starts a workload from the copy of the program named `copy`; gives its process id.
    pub(super) async fn start_workload(&mut self, actor: Actor, copy: &str, more: &[&str]) -> Result<u32, Failure> {
        let program = self.home.root().join("bin").join(copy);
        let socket = self.home.api_socket().display().to_string();
        let role = ["dev-workload", "--role", copy, "--api-socket", &socket];
        let arguments: Vec<_> = role.iter().chain(more).map(|argument| (*argument).to_owned()).collect();
        let log = self.home.log_of(actor.name());
        self.troupe.start(actor, &program, &arguments, log, None).await?;
        let pid = self.pid_of(actor);
        pid.ok_or_else(|| Failure::failed(format!("{actor} ended at once")))
    }

    /// Runs a verb against the CA's admin socket; gives its JSON document.
    async fn ca_verb(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let socket = self.home.ca_admin_socket().display().to_string();
        let text = verb(self.home.program(), &[arguments, &["--socket", &socket, "-o", "json"]].concat()).await?;
        serde_json::from_str(&text).map_err(|error| Failure::failed("a verb printed no JSON").because(error))
    }

    async fn ready_status(&self) -> Result<Value, Failure> {
        let mut status = Value::Null;
        for _ in 0..READY_TRIES {
            status = self.ca_verb(&["status"]).await?;
            if status.get("ready") == Some(&Value::Bool(true)) {
                return Ok(status);
            }
            tokio::time::sleep(READY_PAUSE).await;
        }
        Err(Failure::failed("the CA does not become ready").because(format!("{:#}", status["warnings"])))
    }

    async fn ready_agent(&mut self) -> Result<String, Failure> {
        let mut why = String::new();
        for _ in 0..READY_TRIES {
            let mut client = agent_admin(&self.home.agent_admin_socket()).await?;
            let status = client.agent_status(request(AgentStatusRequest {})).await;
            let status = status.map_err(|status| Failure::from_status("agent status", &status))?.into_inner();
            if status.ready {
                return Ok(status.spiffe_id);
            }
            why = status.warnings.join("\n");
            tokio::time::sleep(READY_PAUSE).await;
        }
        let log = self.troupe.log_of(Actor::Agent);
        Err(Failure::failed("the agent does not become ready").because(format!("{why}\n{log}")))
    }
}

fn text_at(document: &Value, key: &str) -> String {
    document.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

const START_DEADLINE: Duration = Duration::from_secs(10);
const ISSUE_DEADLINE: Duration = Duration::from_secs(10);
const READY_TRIES: u32 = 100;
const READY_PAUSE: Duration = Duration::from_millis(100);
