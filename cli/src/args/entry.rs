//! `entry ...` as typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use identity::{AliasName, DnsName, NodeName, Selector, SpiffeId, TrustDomain};
use pki::Timestamp;

use super::{AgentSocketArgs, CaSocketArgs, ReasonArg, span};

/// `entry ...`
#[derive(Debug, Subcommand)]
pub(crate) enum EntryVerb {
    /// Let processes with these selectors, on a node or on each node of an alias, hold an identity
    #[command(after_help = CREATE_HELP)]
    Create(CreateEntryArgs),
    /// List entries
    #[command(after_help = LIST_HELP)]
    List(ListEntriesArgs),
    /// Show one entry
    #[command(after_help = SHOW_HELP)]
    Show(EntryIdArgs),
    /// Change an entry; what is not named stays as it is
    #[command(after_help = UPDATE_HELP)]
    Update(UpdateEntryArgs),
    /// Delete an entry; its certificates are renewed no more, and run out by themselves unless they are revoked with it
    #[command(after_help = DELETE_HELP)]
    Delete(DeleteEntryArgs),
    /// Make the entries of a scope those of a document
    #[command(after_help = APPLY_HELP)]
    Apply(ApplyArgs),
    /// Print entries as a document that `apply` takes
    #[command(after_help = EXPORT_HELP)]
    Export(ListEntriesArgs),
    /// Ask the agent of this node what a process gets, or would get, and why
    #[command(after_help = EXPLAIN_HELP)]
    Explain(ExplainArgs),
}

/// `entry create`
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("parent").required(true).args(["node", "alias"]))]
pub(crate) struct CreateEntryArgs {
    /// The identity
    #[arg(long, value_name = "ID")]
    pub(crate) spiffe_id: SpiffeId,
    /// What the process must have, such as unix:uid:1000; repeat for more, all must hold
    #[arg(long = "selector", value_name = "SELECTOR", required = true)]
    pub(crate) selectors: Vec<Selector>,
    /// The node it must run on
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<NodeName>,
    /// The node alias on one of whose nodes it must run
    #[arg(long, value_name = "NAME")]
    pub(crate) alias: Option<AliasName>,
    /// Life of its certificates; the CA's default when left out
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) ttl: Option<Duration>,
    /// A DNS name for the certificate; repeat for more
    #[arg(long = "dns", value_name = "NAME")]
    pub(crate) dns_names: Vec<DnsName>,
    /// By which a workload with several identities tells them apart
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) hint: String,
    /// When it stops granting anything: a time such as 2027-01-31T12:00:00Z, or a span from now such as 24h
    #[arg(long, value_name = "TIME|SPAN", value_parser = end)]
    pub(crate) expires: Option<End>,
    /// Another trust domain whose bundle its holders get as well; repeat for more
    #[arg(long, value_name = "TRUST_DOMAIN")]
    pub(crate) federates_with: Vec<TrustDomain>,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `entry update`
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("change").required(true).multiple(true).args(["selectors", "ttl", "dns_names", "no_dns", "hint", "expires", "federates_with", "no_federation"]))]
pub(crate) struct UpdateEntryArgs {
    /// The entry's id, as `entry list` shows it
    pub(crate) id: String,
    /// The selectors it has from now on, all of them; repeat for more
    #[arg(long = "selector", value_name = "SELECTOR")]
    pub(crate) selectors: Vec<Selector>,
    /// Life of its certificates, or `default`
    #[arg(long, value_name = "SPAN|default", value_parser = span_or_default)]
    pub(crate) ttl: Option<TtlChange>,
    /// The DNS names it has from now on, all of them; repeat for more
    #[arg(long = "dns", value_name = "NAME", conflicts_with = "no_dns")]
    pub(crate) dns_names: Vec<DnsName>,
    /// No DNS names from now on
    #[arg(long)]
    pub(crate) no_dns: bool,
    /// Its hint; an empty one takes it away
    #[arg(long, value_name = "TEXT")]
    pub(crate) hint: Option<String>,
    /// When it stops granting anything: a time, a span from now, or `never`
    #[arg(long, value_name = "TIME|SPAN|never", value_parser = end_or_never)]
    pub(crate) expires: Option<EndChange>,
    /// The other trust domains whose bundles its holders get from now on, all of them; repeat for more
    #[arg(long, value_name = "TRUST_DOMAIN", conflicts_with = "no_federation")]
    pub(crate) federates_with: Vec<TrustDomain>,
    /// No bundles of other trust domains from now on
    #[arg(long)]
    pub(crate) no_federation: bool,
    /// Change it only while it has this revision, as `entry show` tells it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) revision: Option<u64>,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// When an entry ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// At this time.
    At(Timestamp),
    /// So long from now.
    In(Duration),
}

/// What becomes of the end of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndChange {
    /// It gets this one.
    To(End),
    /// It has none any more.
    Never,
}

/// What becomes of the life of an entry's certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TtlChange {
    /// This one.
    To(Duration),
    /// The CA's default.
    Default,
}

/// `entry delete`
#[derive(Args, Debug)]
pub(crate) struct DeleteEntryArgs {
    /// Its id
    pub(crate) id: String,
    /// Revoke what was issued for it; the identity may be had by another entry
    #[arg(long)]
    pub(crate) revoke: bool,
    /// Why, for whoever reads the revocation list
    #[arg(long, value_enum, requires = "revoke")]
    pub(crate) reason: Option<ReasonArg>,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `entry list`, `entry export`
#[derive(Args, Debug)]
pub(crate) struct ListEntriesArgs {
    /// Only what this node gets, by its name or by an alias
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<NodeName>,
    /// Only what hangs on this node alias
    #[arg(long, value_name = "NAME", conflicts_with = "node")]
    pub(crate) alias: Option<AliasName>,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `entry show`, `entry delete`
#[derive(Args, Debug)]
pub(crate) struct EntryIdArgs {
    /// The entry's id, as `entry list` shows it
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `entry apply`
#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    /// The document, YAML or JSON; `-` for standard input
    pub(crate) file: PathBuf,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Delete entries of the scope that the document does not name; without this they are kept, and shown
    #[arg(long)]
    pub(crate) prune: bool,
    /// Do it only while the scope is as a dry run told, by the version that it printed
    #[arg(long, value_name = "VERSION")]
    pub(crate) expect: Option<String>,
    /// Exit with 1 when a dry run finds a difference
    #[arg(long, requires = "dry_run")]
    pub(crate) exit_code: bool,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `entry explain`
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("process").required(true).args(["pid", "selectors"]))]
pub(crate) struct ExplainArgs {
    /// A running process of this node
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,
    /// In place of a process: what it would have; repeat for more
    #[arg(long = "selector", value_name = "SELECTOR")]
    pub(crate) selectors: Vec<Selector>,
    /// As if the entries of this document were made; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) with_entry: Option<PathBuf>,
    /// As if the entry asked for this as well; repeat for more
    #[arg(long, value_name = "ENTRY=SELECTOR", value_parser = entry_selector)]
    pub(crate) add_selector: Vec<(String, Selector)>,
    /// As if the entry did not ask for this; repeat for more
    #[arg(long, value_name = "ENTRY=SELECTOR", value_parser = entry_selector)]
    pub(crate) remove_selector: Vec<(String, Selector)>,
    #[command(flatten)]
    pub(crate) admin: AgentSocketArgs,
}

/// Parses a time in UTC as RFC 3339 writes it, in whole seconds.
///
/// # Errors
/// What a time looks like.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    let time = humantime::parse_rfc3339(text).map_err(|error| format!("{error}; write a time such as 2027-01-31T12:00:00Z"))?;
    Ok(time.into())
}

fn end(text: &str) -> Result<End, String> {
    if text.contains('T') {
        return time(text).map(End::At);
    }
    span(text).map(End::In).map_err(|error| format!("{error}, or a time such as 2027-01-31T12:00:00Z"))
}

fn end_or_never(text: &str) -> Result<EndChange, String> {
    if text == "never" { Ok(EndChange::Never) } else { end(text).map(EndChange::To) }
}

fn span_or_default(text: &str) -> Result<TtlChange, String> {
    if text == "default" { Ok(TtlChange::Default) } else { span(text).map(TtlChange::To) }
}

fn entry_selector(text: &str) -> Result<(String, Selector), String> {
    let (entry, selector) = text.split_once('=').ok_or("write ENTRY=SELECTOR, such as 8f14...2543=unix:uid:1000")?;
    Ok((entry.to_owned(), Selector::parse(selector).map_err(|error| error.to_string())?))
}

pub(super) const ENTRY_HELP: &str = "\
Examples:
  signet entry create --spiffe-id spiffe://example.org/web --selector unix:user:web --node n1
  signet entry apply entries.yaml --dry-run
  signet entry explain --pid 4711";

const CREATE_HELP: &str = "\
Examples:
  signet entry create --spiffe-id spiffe://example.org/web --node n1 \\
      --selector unix:uid:1000 --selector unix:path:/usr/bin/web --ttl 1h --dns web.example.org
  signet entry create --spiffe-id spiffe://example.org/job --alias workers --selector unix:user:job --hint nightly --expires 24h";

const LIST_HELP: &str = "\
Examples:
  signet entry list --node n1
  signet entry list --alias web -o json";

const SHOW_HELP: &str = "\
Example:
  signet entry show 8f14e45fceea167a5a36dedd4bea2543";

const UPDATE_HELP: &str = "\
Examples:
  signet entry update 8f14e45fceea167a5a36dedd4bea2543 --selector unix:uid:1000 --ttl 30m
  signet entry update 8f14e45fceea167a5a36dedd4bea2543 --expires never --revision 3

SPIFFE ID and node stay: another of those is another entry.";

const DELETE_HELP: &str = "\
Examples:
  signet entry delete 8f14e45fceea167a5a36dedd4bea2543
  signet entry delete 8f14e45fceea167a5a36dedd4bea2543 --revoke --reason cessation-of-operation

Without --revoke deleting stops renewal only. The answer says until when certificates that were issued stay valid: whoever holds one keeps it
until then.";

const APPLY_HELP: &str = "\
Examples:
  signet entry apply entries.yaml --dry-run --prune
  signet entry apply entries.yaml --prune --expect 5d41402abc4b2a76b9719d911017c592

A document:
  scope: { node: n1 }                 # or alias, path_prefix, both; or everything: true
  entries:
    - spiffe_id: spiffe://example.org/web
      selectors: [unix:user:web]      # further: id, node or alias, ttl, dns_names, hint, expires_at, federates_with

All of it is done, or nothing. Exit code 3 when the scope has changed since the dry run whose version is expected.";

const EXPORT_HELP: &str = "\
Example:
  signet entry export --alias web > web.yaml

A document for a node has the entries that hang on the node itself; those that it has by an alias are that alias's.";

const EXPLAIN_HELP: &str = "\
Examples:
  signet entry explain --pid $(pidof envoy)
  signet entry explain --selector unix:uid:1000 --selector unix:path:/usr/bin/web
  signet entry explain --pid 4711 --with-entry entries.yaml
  signet entry explain --pid 4711 --add-selector 8f14e45fceea167a5a36dedd4bea2543=unix:gid:1000

Nothing is changed by it.";
