//! What the services tell the service manager.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::{Agent, AgentOptions, Ca, CaOptions, Cli, Process, TestBed, nobody_listens, signet_binary};
use tokio::net::UnixDatagram;

async fn hears(manager: &UnixDatagram, wanted: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let mut buffer = [0; 1024];
        let received = tokio::time::timeout(Duration::from_secs(30), manager.recv(&mut buffer)).await;
        let received = received.unwrap_or_else(|_| panic!("waited in vain for {wanted}; heard {heard:?}")).unwrap();
        heard.push(String::from_utf8_lossy(&buffer[..received]).into_owned());
        if heard.last().is_some_and(|message| message == wanted) {
            return heard;
        }
    }
}

fn service(name: &str, config: &Path, socket: &Path, directory: &Path) -> Process {
    let mut command = Command::new(signet_binary());
    command.args([name, "run", "--config"]).arg(config).env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", "200000");
    Process::start(&format!("{name}-told"), &mut command, directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn services_tell_when_they_are_ready_alive_and_stopping() {
    let bed = TestBed::new();
    // A CA for the agent, and another one that is watched.
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let of_ca = Ca::configure(&bed, "watched", "127.0.0.1:0", &CaOptions::default());
    let _made = Cli::run(&["ca", "init", "--config", of_ca.to_str().unwrap()]).ok();
    // The agent's CA is not there at first: it is alive and not ready.
    let token = ca.create_token("node-1");
    let (nobody, _port) = nobody_listens();
    let lost = AgentOptions { ca_address: Some(nobody), ..AgentOptions::default() };
    let of_lost = Agent::configure(&bed, &ca, "node-2", &ca.create_token("node-2"), lost);
    let of_agent = Agent::configure(&bed, &ca, "node-1", &token, AgentOptions::default());
    for (name, config) in [("ca", &of_ca), ("agent", &of_agent)] {
        let socket = bed.path().join(format!("{name}-notify"));
        let manager = UnixDatagram::bind(&socket).unwrap();
        let mut process = service(name, config, &socket, bed.path());
        hears(&manager, "READY=1").await;
        hears(&manager, "WATCHDOG=1").await;
        process.signal(Signal::SIGTERM);
        let last = hears(&manager, "STOPPING=1").await;
        assert!(!last.contains(&"READY=1".to_owned()), "ready is said once: {last:?}");
        assert!(process.exit(Duration::from_secs(60)).await.success());
    }
    let socket = bed.path().join("lost-notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    let _process = service("agent", &of_lost, &socket, bed.path());
    let mut heard = Vec::new();
    for _ in 0..5 {
        heard.extend(hears(&manager, "WATCHDOG=1").await);
    }
    assert!(heard.iter().any(|message| message.starts_with("STATUS=") && message.contains("SVID")), "{heard:?}");
    assert!(!heard.contains(&"READY=1".to_owned()), "{heard:?}");
}
