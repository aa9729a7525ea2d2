//! Logging set-up and the metrics registry.

use std::io::IsTerminal;
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why a text names no log format.
#[derive(Debug, thiserror::Error)]
#[error("unknown log format {found:?}; there are \"text\" and \"json\"")]
pub struct UnknownLogFormat {
    /// The text met.
    pub found: String,
}

impl std::str::FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownLogFormat { found: text.to_owned() }),
        }
    }
}

/// Reads a level by its name.
///
/// # Errors
/// The names there are, when it is none of them.
pub fn log_level(text: &str) -> Result<Level, &'static str> {
    text.parse().map_err(|_| "expected \"error\", \"warn\", \"info\", \"debug\" or \"trace\"")
}

/// Sets up logging to standard error, once per process; a second call changes nothing.
///
/// Everybody else's crates are heard from `WARN` up whatever `level` says: they log what they carry, frames and headers with the
/// tokens in them.
pub fn init_logging(format: LogFormat, level: Level) {
    let targets = targets(level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    if tracing_subscriber::registry().with(lines.with_filter(targets)).try_init().is_err() {
        tracing::debug!("logging was set up before");
    }
}

fn targets(level: Level) -> Targets {
    let level = LevelFilter::from_level(level);
    // What h2 warns of is what a peer does, which may do it as often as it likes.
    let h2 = level.min(LevelFilter::ERROR);
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(OURS.map(|target| (target, level)))
        .with_target("h2", h2)
}

/// A registry with prefix `signet` and the build's version in `signet_build_info`.
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::with_prefix("signet");
    registry.register("build", "The build that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    registry
}

/// A wall time as a gauge says it: seconds since the Unix epoch, zero for earlier times.
#[must_use]
pub fn unix_seconds(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()).unwrap_or(i64::MAX)
}

/// How long until `then`, in seconds; negative when it has passed.
#[must_use]
pub fn seconds_until(then: SystemTime, now: SystemTime) -> i64 {
    unix_seconds(then).saturating_sub(unix_seconds(now))
}

/// Crates of this workspace, and the program. A target counts with everything that begins like it.
const OURS: [&str; 9] = ["ca", "identity", "mtls", "node_agent", "pki", "proto", "runtime", "sds", "signet"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_seconds_of_either_sign() {
        let epoch = SystemTime::UNIX_EPOCH;
        let later = epoch + Duration::from_millis(90_900);
        assert_eq!((unix_seconds(later), unix_seconds(epoch - Duration::from_secs(5))), (90, 0));
        assert_eq!((seconds_until(later, epoch), seconds_until(epoch, later)), (90, -90));
    }

    #[test]
    fn other_peoples_crates_are_capped_and_ours_are_not() {
        let targets = targets(Level::TRACE);
        for ours in ["ca::rpc::listen", "node_agent::workload", "signet", "sds::service"] {
            assert!(targets.would_enable(ours, &Level::TRACE), "{ours}");
        }
        assert!(targets.would_enable("h2::codec", &Level::ERROR) && !targets.would_enable("h2::codec", &Level::WARN));
        for other in ["hyper::proto", "rustls::conn", "tonic::transport", "tokio::task", "mio::poll", "anything"] {
            assert!(targets.would_enable(other, &Level::WARN) && !targets.would_enable(other, &Level::INFO), "{other}");
        }
        assert!(!super::targets(Level::ERROR).would_enable("h2", &Level::WARN));
    }

    #[test]
    fn the_registry_says_which_build_runs() {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry()).unwrap();
        assert!(text.contains("signet_build_info{version=\""), "{text}");
    }

    #[test]
    fn log_formats_are_two() {
        assert_eq!("json".parse::<LogFormat>().unwrap(), LogFormat::Json);
        assert_eq!("text".parse::<LogFormat>().unwrap(), LogFormat::Text);
        assert!("JSON".parse::<LogFormat>().is_err());
    }
}
