//! `audit ...`: the record of what the CA did.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use data_encoding::HEXLOWER_PERMISSIVE;
use pki::{Sha256Digest, Timestamp};

use super::{CaSocketArgs, span};

/// `audit ...`
#[derive(Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// The last events
    #[command(after_help = TAIL_HELP)]
    Tail(TailArgs),
    /// Walk the whole hash chain and hold it against checkpoints
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyAuditArgs),
    /// Intents to sign for which no result was recorded
    #[command(after_help = ORPHANS_HELP)]
    Orphans(OrphansArgs),
    /// Say that you have looked into the checkpoints of another history that agents showed; the CA signs checkpoints again
    #[command(after_help = ACKNOWLEDGE_HELP)]
    AcknowledgeFork(CaSocketArgs),
}

/// `audit tail`
#[derive(Args, Debug)]
pub(crate) struct TailArgs {
    /// How many of the last events
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) lines: u32,
    /// Go on with each new event until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// Where the log is read.
#[derive(Args, Debug)]
pub(crate) struct AuditSourceArgs {
    /// Read this store file instead of asking the CA: `store.db` of its state directory, or a copy; nothing is changed in it
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    pub(crate) store: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `audit verify`
#[derive(Args, Debug)]
pub(crate) struct VerifyAuditArgs {
    /// A checkpoint that was kept elsewhere, as `signet agent checkpoint -o json` writes it, or a list of them; repeat for more
    #[arg(long = "checkpoint", value_name = "FILE", num_args = 1..)]
    pub(crate) checkpoints: Vec<PathBuf>,
    /// SHA-256 of the key that signs checkpoints, as `signet status` shows it; no other may have signed one. Repeat after a change of key
    #[arg(long = "key", value_name = "HEX", value_parser = digest)]
    pub(crate) keys: Vec<Sha256Digest>,
    #[command(flatten)]
    pub(crate) source: AuditSourceArgs,
}

/// `audit orphans`
#[derive(Args, Debug)]
pub(crate) struct OrphansArgs {
    /// Only intents since then: a time such as 2026-11-20T11:00:00Z, or a span such as 24h before now
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Since>,
    /// Intents of JWT-SVIDs too; the record has no results of these, so each one is listed
    #[arg(long)]
    pub(crate) jwt: bool,
    #[command(flatten)]
    pub(crate) source: AuditSourceArgs,
}

/// From when on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Since {
    At(Timestamp),
    Ago(Duration),
}

impl Since {
    pub(crate) fn time(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(span) => now.minus(span),
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(time) => Ok(Self::At(time)),
            Err(not_a_time) => span(text).map(Self::Ago).map_err(|not_a_span| format!("{not_a_time}, nor a span: {not_a_span}")),
        }
    }
}

fn digest(text: &str) -> Result<Sha256Digest, String> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|error| error.to_string())?;
    bytes.try_into().map_err(|_| "a key is named by 64 hexadecimal digits".to_owned())
}

pub(super) const AUDIT_HELP: &str = "\
Examples:
  signet audit tail --follow
  signet audit verify
  signet audit orphans --since 24h";

const TAIL_HELP: &str = "\
Example:
  signet audit tail -n 50 --follow

With `-o json` the events are one list; with `--follow` each is one document on a line of its own.";

const VERIFY_HELP: &str = "\
Examples:
  signet audit verify
  signet audit verify --checkpoint n1.json n2.json --key 5d0c6b1f0e4a9b3cbb0a64a1f5c1a1d1f7e2c3b4a5968778695a4b3c2d1e0f00
  signet audit verify --store store.db --checkpoint n1.json

Exit code 1 when the log does not hold. Who has the CA's host can rebuild all that lies there: hold it against checkpoints that agents
kept, collected from the agents themselves by `signet agent checkpoint -o json`.";

const ORPHANS_HELP: &str = "\
Examples:
  signet audit orphans
  signet audit orphans --since 24h --jwt

An orphan is an intent that was recorded before signing and has no result: the CA ended in between, or could not write the result. The
certificate may exist or not; until its end it must be taken for issued.";

const ACKNOWLEDGE_HELP: &str = "\
Example:
  signet audit acknowledge-fork";
