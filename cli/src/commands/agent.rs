//! `agent ...`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use node_agent::RunError;
use node_agent::config::{AgentConfig, AgentOverrides};
use proto::v1::{
    AgentStatusRequest, AgentStatusResponse, AuditCheckpoint, FileSetStatus, HeldRevocation, HeldRevocationList, IdentityStatus,
    RebootstrapRequest, RebootstrapResponse,
};
use runtime::clock::SystemClock;
use runtime::entropy::SystemEntropy;
use runtime::{shutdown, telemetry};
use serde_json::{Value, json};

use super::service;
use crate::admin_client::{agent_admin, request};
use crate::args::{AgentArgs, AgentVerb};
use crate::checkpoint_wire;
use crate::failure::Failure;
use crate::output::{Answer, Tone, or_dash, printable, time_json, time_text, toned};
use crate::output_format::OutputFormat;

pub(super) async fn run(verb: AgentVerb, format: OutputFormat) -> Result<(), Failure> {
    match verb {
        AgentVerb::Run(args) => serve(args, format).await,
        AgentVerb::Check(args) => check(args)?.print(format),
        AgentVerb::Status(args) => status(&args.socket).await?.print(format),
        AgentVerb::Rebootstrap(args) => rebootstrap(&args.socket.socket, args.dry_run).await?.print(format),
        AgentVerb::Checkpoint(args) => checkpoint(&args.socket).await?.print(format),
    }
}

async fn serve(args: AgentArgs, format: OutputFormat) -> Result<(), Failure> {
    let config = load(args)?;
    telemetry::init_logging(config.log_format, config.log_level);
    // Before anything is bound: a signal that comes meanwhile ends the agent in order.
    let shutdown = shutdown::on_signals().map_err(|error| Failure::failed("cannot listen for signals").because(error))?;
    let bound = node_agent::Server::bind(config, SystemClock::shared(), Arc::new(SystemEntropy));
    let bound = bound.await.map_err(|error| Failure::failed("the agent does not start").because(error))?;
    let addresses = bound.addresses();
    let (api, admin) = (&addresses.api_socket, &addresses.admin_socket);
    let sentence = format!("signet agent serves workloads at {}, operators at {}", api.display(), admin.display());
    let line = json!({ "api_socket": api, "admin_socket": admin });
    service::announce(format, &sentence, addresses.telemetry.as_deref(), line)?;
    let ended = service::run(bound.readiness().clone(), shutdown.clone(), bound.run(shutdown)).await;
    ended.map_err(stopped)
}

fn stopped(error: RunError) -> Failure {
    let what = match &error {
        RunError::Node(_) => "this node cannot join; the agent has stopped",
        RunError::Task(_) => "the agent has stopped: a part of it failed",
    };
    let failure = Failure::failed(what).because(&error);
    match error.advice() {
        Some(advice) => failure.advise(advice),
        None => failure,
    }
}

fn check(args: AgentArgs) -> Result<Answer, Failure> {
    let config = load(args)?;
    let report = node_agent::check(&config, &SystemClock::shared())
        .map_err(|faults| Failure::failed("the agent would not start").because(faults))?;
    let json = json!({
        "ok": true,
        "spiffe_id": report.spiffe_id,
        "svid_not_after": report.svid_not_after.map(|time| time.to_string()),
        "needs_join_token": report.needs_join_token,
        "needs_certificate": report.needs_certificate,
        "configured_identities": report.configured_identities,
        "warnings": report.warnings,
    });
    let identity = match (&report.spiffe_id, report.svid_not_after) {
        (Some(id), Some(end)) => format!("this node is {id} until {end}"),
        _ if report.configured_identities.is_some() => {
            format!("this node does not attest; it fetches {} identities", report.configured_identities.unwrap_or_default())
        }
        _ if report.needs_certificate => "this node has not attested yet: it will by its certificate".to_owned(),
        _ if report.needs_join_token => "this node has not attested yet: it needs its join token".to_owned(),
        _ => "this node attests again by its node key".to_owned(),
    };
    let warnings: Vec<_> = report.warnings.iter().map(|warning| format!(" ! {}", printable(warning))).collect();
    Ok(Answer::text(format!("the configuration is good; {identity}"), json).with_text(&warnings.join("\n")))
}

fn load(args: AgentArgs) -> Result<AgentConfig, Failure> {
    let overrides = AgentOverrides {
        trust_domain: args.trust_domain.map(|name| name.to_string()),
        ca_address: args.ca_address,
        ca_fingerprint: args.ca_fingerprint,
        trust_bundle: from_here(args.trust_bundle)?,
        state_dir: from_here(args.state_dir)?,
        join_token_file: match args.join_token_file {
            Some(path) if path.as_os_str() == "-" => Some("-".to_owned()),
            path => from_here(path)?,
        },
        api_socket: from_here(args.api_socket)?,
        admin_socket: from_here(args.admin_socket)?,
        telemetry: None,
        kubernetes_node_name: args.kubernetes_node_name,
    };
    AgentConfig::from_parts(args.config.as_deref(), &overrides).map_err(|faults| {
        if args.config.is_some() {
            return Failure::failed("the configuration of the agent is refused").because(faults);
        }
        // Without a file all of it was typed, as the heading says already.
        Failure::usage("the options of the agent are refused")
            .because(faults.to_string().replace("command line: ", ""))
            .advise("mend these options (state_dir is `--state-dir`, and so on), or name a file with `--config FILE`")
    })
}

/// A path as typed is meant from where it was typed; a configuration file names whole paths only.
fn from_here(path: Option<PathBuf>) -> Result<Option<String>, Failure> {
    let absolute = path.map(std::path::absolute).transpose();
    let path = absolute.map_err(|error| Failure::failed("cannot tell the present directory").because(error))?;
    let text = path.map(PathBuf::into_os_string).map(std::ffi::OsString::into_string).transpose();
    text.map_err(|path| Failure::usage(format!("{} is not UTF-8", path.display())))
}

async fn status(socket: &Path) -> Result<Answer, Failure> {
    let answer = agent_admin(socket).await?.agent_status(request(AgentStatusRequest {})).await;
    answer.map(|status| screen(status.get_ref())).map_err(|status| Failure::from_status("agent status", &status))
}

async fn rebootstrap(socket: &Path, dry_run: bool) -> Result<Answer, Failure> {
    let answer = agent_admin(socket).await?.rebootstrap(request(RebootstrapRequest { dry_run })).await;
    let answer = answer.map_err(|status| Failure::from_status("agent rebootstrap", &status))?.into_inner();
    let RebootstrapResponse { former_sequence, former_authorities, authorities } = &answer;
    let json = json!({
        "dry_run": dry_run,
        "former_sequence": former_sequence,
        "former_authorities": former_authorities,
        "authorities": authorities,
    });
    let (gives_up, trusts) = if dry_run { ("would give up", "would trust") } else { ("gives up", "trusts") };
    let former = match former_sequence {
        Some(sequence) => format!("the trust bundle of sequence {sequence}"),
        None => "no trust bundle (it has none)".to_owned(),
    };
    let sentence = if dry_run { "nothing was done" } else { "it attests now; `signet agent status` says when it is in step" };
    let lines = |authorities: &[String]| authorities.iter().map(|digest| format!("\n  {digest}")).collect::<String>();
    let text = format!(
        "this node {gives_up} {former}:{}\nand {trusts} these authorities alone, by their SHA-256:{}\n{sentence}",
        lines(former_authorities),
        lines(authorities)
    );
    Ok(Answer::text(text, json))
}

async fn checkpoint(socket: &Path) -> Result<Answer, Failure> {
    let answer = agent_admin(socket).await?.agent_status(request(AgentStatusRequest {})).await;
    let status = answer.map_err(|status| Failure::from_status("agent checkpoint", &status))?.into_inner();
    let Some(kept) = &status.audit_checkpoint else {
        return Err(Failure::refused("this agent keeps no checkpoint of the CA's audit chain").advise(
            "wait until it has been in step with the CA for a minute; `signet agent status` says whether it is, and how it is",
        ));
    };
    let Value::Object(mut document) = checkpoint_json(kept) else {
        return Err(Failure::failed("what this agent keeps is no checkpoint"));
    };
    document.insert("refused".to_owned(), refused_json(&status));
    let key = pki::sha256(&kept.public_key);
    let facts = [
        ("trust domain", kept.trust_domain.clone()),
        ("up to event", kept.sequence.to_string()),
        ("its hash", HEXLOWER.encode(&kept.head)),
        ("made", time_text(kept.time.as_ref())),
        ("key", HEXLOWER.encode(&key)),
    ];
    let refused = status.refused_checkpoint.as_ref();
    let refused = refused.map(|refused| format!(" ! refused another one: {}", printable(&refused.why)));
    Ok(Answer::facts(facts, Value::Object(document)).with_text(&refused.unwrap_or_default()))
}

fn checkpoint_text(checkpoint: &AuditCheckpoint) -> String {
    format!("up to event {}, {}", checkpoint.sequence, time_text(checkpoint.time.as_ref()))
}

/// The document that `audit verify` reads; null when it is none.
fn checkpoint_json(checkpoint: &AuditCheckpoint) -> Value {
    let document = checkpoint_wire::signed(checkpoint).ok().and_then(|signed| serde_json::from_str(&signed.to_json()).ok());
    document.unwrap_or_default()
}

fn refused_json(status: &AgentStatusResponse) -> Value {
    let Some(refused) = &status.refused_checkpoint else { return Value::Null };
    json!({ "why": refused.why, "checkpoint": refused.checkpoint.as_ref().map(checkpoint_json) })
}

fn screen(status: &AgentStatusResponse) -> Answer {
    let facts = [
        ("identity", or_dash(&status.spiffe_id)),
        ("expires", time_text(status.svid_expires_at.as_ref())),
        ("serial", or_dash(&status.serial)),
        ("CA", if status.connected { "connected" } else { "not connected" }.to_owned()),
        ("bundle sequence", status.bundle_sequence.to_string()),
        ("entries", if status.entries_known { "known" } else { "not known yet" }.to_owned()),
        ("JWT-SVIDs kept", status.jwt_svids_kept.to_string()),
        ("SVID cache", printable(&status.svid_cache).to_string()),
        ("provider", status.provider.clone()),
        ("cannot give", or_dash(&status.absent.join(", "))),
        ("audit checkpoint", status.audit_checkpoint.as_ref().map_or_else(|| "-".to_owned(), checkpoint_text)),
        ("revocation lists", status.revocation.as_ref().map_or_else(|| "none".to_owned(), revocation_text)),
        ("build", status.build.clone()),
    ];
    let rows = status.identities.iter().map(row).collect();
    let columns = ["identity", "state", "expires", "renews", "serial", "last error"];
    let identities = Answer::table(&columns, rows, " no identities on this node", Value::Null);
    let warnings: Vec<_> = status.warnings.iter().map(|warning| format!(" ! {}", printable(warning))).collect();
    let state = if status.ready { toned("ready", Tone::Good) } else { toned("not ready", Tone::Bad) };
    let answer = Answer::text(format!(" {state}"), status_json(status))
        .with_text(&warnings.join("\n"))
        .with_text(Answer::facts(facts, Value::Null).as_text())
        .with_text(identities.as_text());
    let lists = status.revocation.as_ref().map_or(&[][..], |revocation| &revocation.lists);
    let answer = if lists.is_empty() {
        answer
    } else {
        let rows = lists.iter().map(revocation_row).collect();
        let columns = ["revocation list of", "number", "next update", "revoked", "state"];
        answer.with_text(Answer::table(&columns, rows, "", Value::Null).as_text())
    };
    if status.file_sets.is_empty() {
        return answer;
    }
    let rows = status.file_sets.iter().map(file_set_row).collect();
    let columns = ["files", "identity", "directory", "state", "expires", "serial", "trouble"];
    answer.with_text(Answer::table(&columns, rows, "", Value::Null).as_text())
}

fn revocation_text(revocation: &HeldRevocation) -> String {
    let complete = if revocation.complete { "complete" } else { "not complete: verifiers of whole chains are given none" };
    format!("sequence {}, {complete}", revocation.sequence)
}

fn revocation_row(list: &HeldRevocationList) -> Vec<String> {
    vec![
        list.issuer.clone(),
        list.number.clone(),
        time_text(list.next_update.as_ref()),
        list.revoked.to_string(),
        if list.current { "current" } else { "not current" }.to_owned(),
    ]
}

fn revocation_json(revocation: &HeldRevocation) -> Value {
    let list = |list: &HeldRevocationList| {
        json!({
            "issuer": list.issuer,
            "issuer_key": list.issuer_key,
            "number": list.number,
            "this_update": time_json(list.this_update.as_ref()),
            "next_update": time_json(list.next_update.as_ref()),
            "revoked": list.revoked,
            "current": list.current,
        })
    };
    let lists: Vec<_> = revocation.lists.iter().map(list).collect();
    json!({ "sequence": revocation.sequence, "complete": revocation.complete, "lists": lists })
}

fn file_set_row(set: &FileSetStatus) -> Vec<String> {
    vec![
        set.name.clone(),
        set.spiffe_id.clone(),
        set.directory.clone(),
        set.state.clone(),
        time_text(set.expires_at.as_ref()),
        or_dash(&set.serial),
        or_dash(&set.trouble),
    ]
}

fn row(identity: &IdentityStatus) -> Vec<String> {
    vec![
        identity.spiffe_id.clone(),
        identity.state.clone(),
        time_text(identity.expires_at.as_ref()),
        time_text(identity.renew_at.as_ref()),
        or_dash(&identity.serial),
        or_dash(&identity.last_error),
    ]
}

fn status_json(status: &AgentStatusResponse) -> Value {
    let identities: Vec<_> = status
        .identities
        .iter()
        .map(|identity| {
            json!({
                "spiffe_id": identity.spiffe_id,
                "state": identity.state,
                "serial": identity.serial,
                "expires_at": time_json(identity.expires_at.as_ref()),
                "renew_at": time_json(identity.renew_at.as_ref()),
                "last_error": (!identity.last_error.is_empty()).then_some(&identity.last_error),
            })
        })
        .collect();
    let file_sets: Vec<_> = status
        .file_sets
        .iter()
        .map(|set| {
            json!({
                "name": set.name,
                "spiffe_id": set.spiffe_id,
                "directory": set.directory,
                "state": set.state,
                "serial": set.serial,
                "expires_at": time_json(set.expires_at.as_ref()),
                "trouble": (!set.trouble.is_empty()).then_some(&set.trouble),
            })
        })
        .collect();
    json!({
        "build": status.build,
        "ready": status.ready,
        "warnings": status.warnings,
        "spiffe_id": status.spiffe_id,
        "serial": status.serial,
        "svid_expires_at": time_json(status.svid_expires_at.as_ref()),
        "bundle_sequence": status.bundle_sequence,
        "connected": status.connected,
        "entries_known": status.entries_known,
        "jwt_svids_kept": status.jwt_svids_kept,
        "svid_cache": status.svid_cache,
        "audit_checkpoint": status.audit_checkpoint.as_ref().map(checkpoint_json),
        "refused_checkpoint": refused_json(status),
        "revocation": status.revocation.as_ref().map(revocation_json),
        "provider": status.provider,
        "absent": status.absent,
        "identities": identities,
        "file_sets": file_sets,
    })
}
