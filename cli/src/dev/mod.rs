//! `signet dev`: a CA, an agent and two workloads on this machine, each a process of its own that is started from a
//! binary and reached over a socket, as in a real deployment. Nothing of them runs inside this process.

mod bring_up;
mod check;
mod events;
mod home;
mod processes;
mod report;
mod sds_client;
mod sds_secret;
pub(crate) mod workload;

use std::time::Duration;

use runtime::clock::SystemClock;
use runtime::shutdown::{self, Shutdown};
use serde_json::json;

use crate::args::DevArgs;
use crate::failure::Failure;
use crate::output::{Answer, Tone, facts_text, print_line, toned};
use crate::output_format::OutputFormat;

use bring_up::Stage;
use events::Event;
use home::Home;
use processes::{Actor, Happening};
use report::Report;

pub(crate) use processes::end_with_parent;

/// Runs the system until a signal, or the story once.
///
/// # Errors
/// [`Failure`] naming the step and why.
pub(crate) async fn run(args: DevArgs, format: OutputFormat) -> Result<(), Failure> {
    let shutdown = shutdown::on_signals().map_err(|error| Failure::failed("cannot listen for signals").because(error))?;
    let home = Home::open(&args)?;
    let report = Report::new(SystemClock::shared(), format);
    if format == OutputFormat::Table {
        print_line(&format!("state, sockets and logs: {}\n", home.root().display()))?;
    }
    let ttl = if args.check { CHECK_TTL } else { DEV_TTL };
    let mut stage = Stage::new(home, report, ttl)?;
    let outcome = if args.check { checked(&mut stage, &shutdown).await } else { until_told(&mut stage, &shutdown).await };
    stage.report().leave();
    stage.end().await;
    outcome
}

async fn checked(stage: &mut Stage, shutdown: &Shutdown) -> Result<(), Failure> {
    tokio::select! {
        outcome = tokio::time::timeout(CHECK_DEADLINE, check::story(stage)) => {
            let outcome = outcome.unwrap_or_else(|_| Err(Failure::failed("the check took longer than a minute")));
            stage.conclude(outcome)
        }
        () = shutdown.fired() => Err(Failure::failed("interrupted before the check was through")),
    }
}

async fn until_told(stage: &mut Stage, shutdown: &Shutdown) -> Result<(), Failure> {
    tokio::select! {
        outcome = perform(stage) => outcome,
        () = shutdown.fired() => Ok(()),
    }
}

/// Brings everything up, says what to try, then shows what happens.
async fn perform(stage: &mut Stage) -> Result<(), Failure> {
    stage.start_ca().await?;
    stage.start_agent().await?;
    stage.start_workloads().await?;
    welcome(stage)?;
    let mut calls = 0_u64;
    loop {
        let happening = stage.next().await?;
        let Happening { actor, event: Some(event) } = happening else {
            return Err(stage.ended(happening.actor).await);
        };
        // The calls go on each second; one in ten is enough to see that they do.
        let routine = matches!(event, Event::Answered { .. } | Event::Served { .. });
        if let Event::Answered { .. } = event {
            calls += 1;
        }
        if stage.is_for_people() && (!routine || (actor == Actor::Web && calls % SHOWN_CALLS == 1)) {
            print_line(&format!("{} {event}", toned(&format!("{actor:>6}"), Tone::Quiet)))?;
        }
    }
}

fn welcome(stage: &Stage) -> Result<(), Failure> {
    let home = stage.home();
    let (ca, agent, api) = (home.ca_admin_socket(), home.agent_admin_socket(), home.api_socket());
    let pids = json!({
        "ca": stage.pid_of(Actor::Ca),
        "agent": stage.pid_of(Actor::Agent),
        "web": stage.pid_of(Actor::Web),
        "api": stage.pid_of(Actor::Api),
    });
    let document = json!({
        "state_dir": home.root(),
        "trust_domain": home::TRUST_DOMAIN,
        "ca_address": stage.ca_address(),
        "ca_admin_socket": ca,
        "agent_admin_socket": agent,
        "api_socket": api,
        "pids": pids,
    });
    let sockets = facts_text([
        ("CA", stage.ca_address().to_owned()),
        ("CA admin", ca.display().to_string()),
        ("agent admin", agent.display().to_string()),
        ("SDS for workloads", api.display().to_string()),
    ]);
    let program = home.program().display();
    let (ca, agent, api) = (ca.display(), agent.display(), api.display());
    let web_pid = stage.pid_of(Actor::Web).map_or_else(|| "PID".to_owned(), |pid| pid.to_string());
    let (node, web_id, envoy_id) = (home::NODE, home::web_id(), home::envoy_id());
    let text = format!(
        "\n{sockets}\n\ntry next, in another terminal:\n  \
         {program} status --socket {ca}\n  \
         {program} agent status --socket {agent}\n  \
         {program} entry list --socket {ca}\n  \
         {program} entry explain --pid {web_pid} --socket {agent}\n  \
         {program} audit tail --follow --socket {ca}\n\n\
         and with an Envoy at /usr/local/bin/envoy, in front of a program on port 8080:\n  \
         {program} entry create --socket {ca} --node {node} --spiffe-id {envoy_id} \\\n      \
         --selector unix:path:/usr/local/bin/envoy\n  \
         {program} envoy bootstrap --api-socket {api} --id {envoy_id} \\\n      \
         --listen 127.0.0.1:9443 --upstream 127.0.0.1:8080 --client-id {web_id} > envoy.json\n\n\
         Ctrl-C ends it all.\n"
    );
    Answer::text(text, document).print(stage.format())
}

const DEV_TTL: &str = "10m";
const CHECK_TTL: &str = "20s";
/// The story is to be told in less than a minute, the end of the processes included.
const CHECK_DEADLINE: Duration = Duration::from_secs(55);
const SHOWN_CALLS: u64 = 10;
