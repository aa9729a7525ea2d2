//! `ca ...`.

use std::path::Path;
use std::sync::Arc;

use ca::InitOptions;
use ca::config::CaConfig;
use data_encoding::HEXLOWER;
use pki::{KeyAlgorithm, RsaSize};
use runtime::clock::SystemClock;
use runtime::entropy::SystemEntropy;
use runtime::{shutdown, telemetry};
use serde_json::json;

use super::service;
use crate::args::{AlgorithmArg, CaInitArgs, CaVerb, ConfigArgs, IssuerRenewArgs, IssuerVerb};
use crate::failure::Failure;
use crate::output::{Answer, facts_text, printable};
use crate::output_format::OutputFormat;

pub(super) async fn run(verb: CaVerb, format: OutputFormat) -> Result<(), Failure> {
    match verb {
        CaVerb::Init(args) => init(&args).await?.print(format),
        CaVerb::Run(args) => serve(&args, format).await,
        CaVerb::Check(args) => check(&args).await?.print(format),
        CaVerb::AcceptClock(args) => accept_clock(&args).await?.print(format),
        CaVerb::Issuer(IssuerVerb::Renew(args)) => renew(args).await?.print(format),
    }
}

async fn serve(args: &ConfigArgs, format: OutputFormat) -> Result<(), Failure> {
    let config = load(args)?;
    telemetry::init_logging(config.log_format, config.log_level);
    // Before anything is bound: a signal that comes meanwhile ends the CA in order.
    let shutdown = shutdown::on_signals().map_err(|error| Failure::failed("cannot listen for signals").because(error))?;
    let advice = first_start_advice(&config, &args.config);
    let bound = ca::Server::bind(config, SystemClock::shared(), Arc::new(SystemEntropy));
    let bound = bound.await.map_err(|error| {
        let failure = Failure::failed("the CA does not start").because(error);
        match advice {
            Some(advice) => failure.advise(advice),
            None => failure,
        }
    })?;
    let addresses = bound.addresses();
    let (listening, admin) = (addresses.listening, &addresses.admin_socket);
    let sentence = format!("signet ca serves agents at {listening}, operators at {}", admin.display());
    let line = json!({ "listening": listening.to_string(), "admin_socket": admin });
    service::announce(format, &sentence, addresses.telemetry.as_deref(), line)?;
    let ended = service::run(bound.readiness().clone(), shutdown.clone(), bound.run(shutdown)).await;
    ended.map_err(|error| Failure::failed("the CA stopped, because a part of it failed").because(error))
}

/// What to do about a state directory that is not there yet.
fn first_start_advice(config: &CaConfig, file: &Path) -> Option<String> {
    if config.state_dir.exists() {
        return None;
    }
    Some(match config.plugged_authority {
        None => format!("make an authority first: `signet ca init --config {}`", file.display()),
        Some(_) => format!("make the directory: `install -d -m 0700 {}`", config.state_dir.display()),
    })
}

async fn init(args: &CaInitArgs) -> Result<Answer, Failure> {
    let config = load(&args.config)?;
    let algorithm = match args.algorithm {
        AlgorithmArg::P256 => KeyAlgorithm::EcdsaP256,
        AlgorithmArg::P384 => KeyAlgorithm::EcdsaP384,
        AlgorithmArg::Rsa3072 => KeyAlgorithm::Rsa(RsaSize::Bits3072),
        AlgorithmArg::Rsa4096 => KeyAlgorithm::Rsa(RsaSize::Bits4096),
    };
    let options = InitOptions { algorithm, root_key_out: args.root_key_out.clone() };
    let made = ca::init(&config, options, SystemClock::shared().as_ref(), &SystemEntropy)
        .await
        .map_err(|error| Failure::failed("no authority was made").because(error))?;
    let fingerprint = HEXLOWER.encode(&made.root_fingerprint);
    let facts = facts_text([
        ("root certificate", format!("{} (until {})", made.root_certificate.display(), made.root_not_after)),
        ("root key", made.root_key.display().to_string()),
        ("root fingerprint", fingerprint.clone()),
        ("issuing CA", format!("{} (until {})", made.generation.display(), made.issuer_not_after)),
        ("audit key", format!("{} ({})", made.audit_key.display(), HEXLOWER.encode(&made.audit_key_id))),
        ("JWT key", format!("{} ({})", made.jwt_key.display(), made.jwt_key_id)),
    ]);
    let keep = match args.root_key_out {
        Some(_) => "keep the root key where it is, with a copy: the CA runs without it, `signet ca issuer renew` needs it.",
        None => "move the root key elsewhere and keep it: the CA runs without it, `signet ca issuer renew` needs it.",
    };
    let next = format!("{keep}\nnext: signet ca run --config {}", args.config.config.display());
    let json = json!({
        "root_certificate": made.root_certificate,
        "root_key": made.root_key,
        "root_fingerprint": fingerprint,
        "root_not_after": made.root_not_after.to_string(),
        "generation": made.generation,
        "issuer_not_after": made.issuer_not_after.to_string(),
        "audit_key": made.audit_key,
        "audit_key_id": HEXLOWER.encode(&made.audit_key_id),
        "jwt_key": made.jwt_key,
        "jwt_key_id": made.jwt_key_id.as_str(),
    });
    Ok(Answer::text(facts, json).with_text(&next))
}

async fn renew(args: IssuerRenewArgs) -> Result<Answer, Failure> {
    let config = load(&args.config)?;
    let made = ca::issuer_renew(&config, args.root_key, SystemClock::shared().as_ref(), &SystemEntropy)
        .await
        .map_err(|error| Failure::failed("the issuing CA was not renewed").because(error))?;
    let facts = [
        ("issuing CA", made.subject.clone()),
        ("serial", made.serial.to_string()),
        ("until", made.not_after.to_string()),
        ("files", made.generation.display().to_string()),
    ];
    let json = json!({
        "subject": made.subject,
        "serial": made.serial.to_string(),
        "not_after": made.not_after.to_string(),
        "generation": made.generation,
    });
    Ok(Answer::facts(facts, json).with_text("a running CA takes it up by itself"))
}

async fn accept_clock(args: &ConfigArgs) -> Result<Answer, Failure> {
    let config = load(args)?;
    let ca::AcceptedClock { now, latest } = ca::accept_clock(&config, SystemClock::shared().as_ref())
        .await
        .map_err(|error| Failure::failed("the clock was not accepted").because(error))?;
    let facts = [("now", now.to_string()), ("latest issuance until now", latest.to_string())];
    let json = json!({ "now": now.to_string(), "latest_issuance": latest.to_string() });
    Ok(Answer::facts(facts, json).with_text(&format!("next: signet ca run --config {}", args.config.display())))
}

async fn check(args: &ConfigArgs) -> Result<Answer, Failure> {
    let config = load(args)?;
    let authority = ca::check(&config, SystemClock::shared().as_ref())
        .await
        .map_err(|error| Failure::failed("the CA would not start").because(error))?;
    let fingerprint = HEXLOWER.encode(&authority.root_fingerprint);
    let warnings: Vec<_> = authority.warnings.iter().map(|warning| format!(" ! {}", printable(warning))).collect();
    let facts = [
        ("authority", authority.directory.display().to_string()),
        ("issuing CA", format!("{} (until {})", authority.subject, authority.not_after)),
        ("root", format!("{fingerprint} (until {})", authority.root_not_after)),
        ("audit key", authority.audit_key_id.map_or("none yet; the next start makes one".to_owned(), |id| HEXLOWER.encode(&id))),
        ("JWT key", authority.jwt_key_id.as_ref().map_or("none yet; the next start makes one".to_owned(), ToString::to_string)),
    ];
    let json = json!({
        "ok": true,
        "authority": authority.directory,
        "issuer": authority.subject,
        "issuer_not_after": authority.not_after.to_string(),
        "issuer_half_life": authority.half_life.to_string(),
        "root_fingerprint": fingerprint,
        "root_not_after": authority.root_not_after.to_string(),
        "audit_key_id": authority.audit_key_id.map(|id| HEXLOWER.encode(&id)),
        "jwt_key_id": authority.jwt_key_id.as_ref().map(pki::KeyId::as_str),
        "warnings": authority.warnings,
    });
    Ok(Answer::text("configuration and authority are good", json).with_text(&facts_text(facts)).with_text(&warnings.join("\n")))
}

fn load(args: &ConfigArgs) -> Result<CaConfig, Failure> {
    CaConfig::load(&args.config).map_err(|faults| Failure::failed("the configuration of the CA is refused").because(faults))
}
