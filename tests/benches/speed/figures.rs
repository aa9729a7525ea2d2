//! Rows of figures, as a table that a person reads and docs/performance.md takes over.

use std::time::Duration;

/// Prints each figure as it comes.
#[derive(Default)]
pub(crate) struct Figures {
    rows: usize,
}

impl Figures {
    /// What was measured on.
    pub(crate) fn machine(&mut self) {
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, name)| name);
        println!("machine: {cpus} CPUs ({model}), Linux {}; backend {}", kernel.trim(), backend());
    }

    /// One figure with its unit, and what it is to be compared with.
    pub(crate) fn row(&mut self, what: &str, value: &str, beside: &str) {
        if self.rows == 0 {
            println!("| what | figure | beside |\n| --- | --- | --- |");
        }
        self.rows += 1;
        println!("| {what} | {value} | {beside} |");
    }
}

fn backend() -> &'static str {
    if cfg!(feature = "ring") { "ring" } else { "aws-lc" }
}

/// Times of many equal acts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that this share of all (in thousandths) does not exceed.
    pub(crate) fn quantile(&self, thousandths: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted.get((sorted.len() * thousandths / 1000).min(last)).copied().unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        format!("p50 {}, p99 {} (of {})", milliseconds(self.quantile(500)), milliseconds(self.quantile(990)), self.count())
    }
}

pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// The middle one; of an even number the upper of both.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
