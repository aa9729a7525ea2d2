//! Requests that go on through whatever a test does: on kept connections and on new ones, each answer checked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::{HttpConnection, HttpResponse, HttpStream, STREAM_PATH};

/// Most failures whose text is kept.
const MOST_TOLD: usize = 10;

/// How long an answer that lasts may be silent, on a machine that has much to do.
const LONGEST_SILENCE: Duration = Duration::from_secs(20);

/// How much, for how many.
#[derive(Clone, Copy, Debug)]
pub struct TrafficShape {
    /// Connections that are kept from beginning to end.
    pub kept: usize,
    /// How often each of them asks.
    pub every: Duration,
    /// How often a new connection is made, asks once and ends.
    pub fresh_every: Duration,
    /// Answers that last from beginning to end, a line every [`STREAM_EVERY`](crate::STREAM_EVERY), each on a connection of its own.
    pub streams: usize,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct TrafficReport {
    /// Answers as they should be.
    pub answered: u64,
    /// New connections among them.
    pub fresh: u64,
    /// Lines of the answers that last, each the one that was to come.
    pub streamed: u64,
    /// Requests without such an answer, and answers that did not last.
    pub failed: u64,
    /// The first of them, as texts.
    pub failures: Vec<String>,
}

/// Running traffic to one address; ends when it is dropped.
pub struct Traffic {
    seen: Arc<Mutex<TrafficReport>>,
    tasks: JoinSet<()>,
}

impl Traffic {
    /// Opens the kept connections, each of which must answer once, and goes on from there.
    ///
    /// # Panics
    /// When one of them does not answer.
    pub async fn start(entrance: SocketAddr, shape: TrafficShape) -> Self {
        let seen = Arc::new(Mutex::new(TrafficReport::default()));
        let mut tasks = JoinSet::new();
        for number in 0..shape.kept {
            let mut connection = HttpConnection::open(entrance).await.expect("the entrance takes connections");
            let first = connection.get("/").await;
            assert_eq!(first.status, 200, "kept connection {number} does not begin: {}", first.body);
            let seen = Arc::clone(&seen);
            tasks.spawn(async move {
                let mut every = tokio::time::interval(shape.every);
                loop {
                    every.tick().await;
                    let answer = connection.get("/").await;
                    let is_broken = answer.status == 0;
                    note(&seen, &format!("kept connection {number}"), &answer, false);
                    if is_broken {
                        // It counts once: the connection is gone, and what matters is that it went.
                        return;
                    }
                }
            });
        }
        for number in 0..shape.streams {
            let mut stream = HttpStream::open(entrance, STREAM_PATH).await.expect("the entrance takes connections");
            let seen = Arc::clone(&seen);
            tasks.spawn(async move {
                let mut next = 0_u64;
                let why = loop {
                    match tokio::time::timeout(LONGEST_SILENCE, stream.line()).await {
                        Ok(Ok(line)) if line == next.to_string() => locked(&seen).streamed += 1,
                        Ok(Ok(line)) => break format!("{line} where {next} was to come"),
                        Ok(Err(error)) => break error,
                        Err(_) => break format!("silent for {LONGEST_SILENCE:?} after {next} lines"),
                    }
                    next += 1;
                };
                failed(&mut locked(&seen), format!("stream {number}: {why}"));
            });
        }
        let counts = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut every = tokio::time::interval(shape.fresh_every);
            loop {
                every.tick().await;
                let answer = crate::http_get(entrance, "/").await;
                note(&counts, "a new connection", &answer, true);
            }
        });
        Self { seen, tasks }
    }

    /// What was seen so far.
    #[must_use]
    pub fn seen(&self) -> TrafficReport {
        locked(&self.seen).clone()
    }

    /// Ends it, and says what was seen.
    pub async fn stop(mut self) -> TrafficReport {
        self.tasks.shutdown().await;
        self.seen()
    }
}

fn note(seen: &Mutex<TrafficReport>, who: &str, answer: &HttpResponse, is_fresh: bool) {
    let mut seen = locked(seen);
    if answer.status == 200 && answer.body == "hello" {
        seen.answered += 1;
        seen.fresh += u64::from(is_fresh);
        return;
    }
    failed(&mut seen, format!("{who}: status {}: {}", answer.status, answer.body));
}

fn failed(seen: &mut TrafficReport, why: String) {
    seen.failed += 1;
    if seen.failures.len() < MOST_TOLD {
        seen.failures.push(why);
    }
}

fn locked(seen: &Mutex<TrafficReport>) -> MutexGuard<'_, TrafficReport> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
