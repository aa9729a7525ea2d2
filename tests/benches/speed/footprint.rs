//! What `signet` costs before it does anything: start, memory, size.

use std::time::Duration;

use runtime::clock::SystemClock;
use tests::{Agent, AgentOptions, Ca, CaOptions, TestBed, signet_binary};

use crate::cpu;
use crate::figures::{Figures, Latencies};

const STARTS: usize = 10;
/// Long enough for what a start leaves behind to be given back.
const SETTLE: Duration = Duration::from_secs(3);

pub(crate) async fn measure(figures: &mut Figures) {
    let clock = SystemClock::shared();
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions { log_level: "info".to_owned(), ..CaOptions::default() }).await;
    let mut agent =
        Agent::start_with(&bed, &ca, "node-1", AgentOptions { log_level: Some("info".to_owned()), ..AgentOptions::default() })
            .await;
    tokio::time::sleep(SETTLE).await;
    let (ca_memory, agent_memory) = (cpu::resident(ca.process.id()), cpu::resident(agent.process.id()));
    let (mut ca_starts, mut agent_starts) = (Latencies::default(), Latencies::default());
    for _ in 0..STARTS {
        ca.process.stop().await;
        agent.process.stop().await;
        let begin = clock.boottime();
        ca.start_again().await;
        ca_starts.push(clock.boottime() - begin);
        let begin = clock.boottime();
        agent.start_again().await;
        agent.ready().await;
        agent_starts.push(clock.boottime() - begin);
    }
    figures.row(
        "`ca run` to listening",
        &ca_starts.text(),
        "authority loaded, store opened, own certificate recorded and signed",
    );
    figures.row("`agent run` to ready, known node", &agent_starts.text(), "connected to the CA; polled every 20 ms");
    figures.row("memory of an idle CA", &mebibytes(ca_memory), "resident");
    figures.row("memory of an idle agent", &mebibytes(agent_memory), "resident");
    let binary = std::fs::metadata(signet_binary()).unwrap().len();
    figures.row("the binary", &mebibytes(binary), "with line tables");
}

pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", f64::from(u32::try_from(bytes / 1024).unwrap()) / 1024.0)
}
