//! `ca ...`.

use std::path::Path;
use std::sync::Arc;

use ca::config::{CaConfig, KeyStore};
use ca::{CheckReport, InitOptions, InitReport, RootKept};
use data_encoding::HEXLOWER;
use pki::{KeyAlgorithm, RsaSize};
use runtime::clock::SystemClock;
use runtime::entropy::SystemEntropy;
use runtime::{shutdown, telemetry};
use serde_json::{Value, json};

use super::{backup, service};
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
        CaVerb::Backup(args) => backup::backup(*args, format).await,
        CaVerb::Restore(args) => backup::restore(&args).await?.print(format),
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
    let federation = addresses.federation.map(|address| address.to_string());
    let sentence = match &federation {
        Some(address) => format!("{sentence}, other trust domains at {address}"),
        None => sentence,
    };
    let line = json!({ "listening": listening.to_string(), "admin_socket": admin, "federation": federation });
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
        // A start makes the directory, and what is wrong is upstream.
        None if config.upstream.is_some() => return None,
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
    let failed = |error| Failure::failed("no authority was made").because(error);
    let unmade = |why: &str| Ok(Answer::text(format!("{why}: nothing was made"), json!({ "made": false })));
    if let Some(place) = &args.root_secret {
        let kept = ca::init_with_secret(&config, options, place, SystemClock::shared(), &SystemEntropy).await.map_err(failed)?;
        return match kept {
            RootKept::Made(made) => Ok(made_text(&config, args, &made)),
            RootKept::AsItIs => unmade("there is an authority already"),
            RootKept::Differs => unmade(
                "there is an authority already, and the Secret has another root than the one that signs (after a rotation: delete it, and the next run \
                 puts the new one there)",
            ),
            RootKept::Unasked(error) => {
                unmade(&format!("there is an authority already (of the Secret nothing is known: {error})"))
            }
            RootKept::Put => Ok(Answer::text(
                "there is an authority already: its root was put into the Secret",
                json!({ "made": false, "put": true }),
            )),
            RootKept::Restored(made) => {
                let text = format!("the root came from the Secret; issuing CA until {}", made.not_after);
                Ok(Answer::text(text, json!({ "made": true, "restored": true, "generation": made.generation })))
            }
        };
    }
    if args.if_missing && ca::is_made(&config).await.map_err(failed)? {
        return unmade("there is an authority already");
    }
    let made = ca::init(&config, options, SystemClock::shared().as_ref(), &SystemEntropy).await.map_err(failed)?;
    Ok(made_text(&config, args, &made))
}

fn made_text(config: &CaConfig, args: &CaInitArgs, made: &InitReport) -> Answer {
    let fingerprint = HEXLOWER.encode(&made.root_fingerprint);
    let facts = facts_text([
        ("root certificate", format!("{} (until {})", made.root_certificate.display(), made.root_not_after)),
        ("root fingerprint", fingerprint.clone()),
        ("issuing CA", format!("{} (until {})", made.generation.display(), made.issuer_not_after)),
        ("audit key", format!("{} ({})", made.audit_key.display(), HEXLOWER.encode(&made.audit_key_id))),
        ("JWT key ID", made.jwt_key_id.to_string()),
    ]);
    let places = facts_text(made.key_places.clone());
    let keep = match (config.key_store, &args.root_key_out) {
        (KeyStore::Token, _) => {
            "the keys of root, issuing CA and JWT-SVIDs never leave the token: what backs it up backs them up."
        }
        (KeyStore::File | KeyStore::Memory, Some(_)) => {
            "keep the root key where it is, with a copy: the CA runs without it, `signet ca issuer renew` needs it."
        }
        (KeyStore::File | KeyStore::Memory, None) => {
            "move the root key elsewhere and keep it: the CA runs without it, `signet ca issuer renew` needs it."
        }
    };
    let next = format!("{keep}\nnext: signet ca run --config {}", args.config.config.display());
    let json = json!({
        "made": true,
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
        "key_places": key_places_json(&made.key_places),
    });
    Answer::text(facts, json).with_text(&places).with_text(&next)
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
    let checked = ca::check(&config, SystemClock::shared().as_ref())
        .await
        .map_err(|error| Failure::failed("the CA would not start").because(error))?;
    let warnings: Vec<_> = checked.warnings.iter().map(|warning| format!(" ! {}", printable(warning))).collect();
    let CheckReport { authority, jwt_key_id, audit_key_id, key_places, warnings: _ } = &checked;
    let fingerprint = authority.as_ref().map(|authority| HEXLOWER.encode(&authority.root_fingerprint));
    let json = json!({
        "ok": true,
        "authority": authority.as_ref().map(|authority| &authority.directory),
        "issuer": authority.as_ref().map(|authority| &authority.subject),
        "issuer_not_after": authority.as_ref().map(|authority| authority.not_after.to_string()),
        "issuer_half_life": authority.as_ref().map(|authority| authority.half_life.to_string()),
        "root_fingerprint": fingerprint,
        "root_not_after": authority.as_ref().map(|authority| authority.root_not_after.to_string()),
        "audit_key_id": audit_key_id.map(|id| HEXLOWER.encode(&id)),
        "jwt_key_id": jwt_key_id.as_ref().map(pki::KeyId::as_str),
        "key_places": key_places_json(key_places),
        "warnings": checked.warnings,
    });
    let (head, mut facts) = match (authority, fingerprint) {
        (Some(authority), Some(fingerprint)) => (
            "configuration and authority are good",
            vec![
                ("authority", authority.directory.display().to_string()),
                ("issuing CA", format!("{} (until {})", authority.subject, authority.not_after)),
                ("root", format!("{fingerprint} (until {})", authority.root_not_after)),
            ],
        ),
        (None, _) | (_, None) => {
            ("the configuration is good", vec![("issuing CA", "none here; the next start has upstream sign one".to_owned())])
        }
    };
    let none = || "none yet; the next start makes one".to_owned();
    facts.push(("audit key", audit_key_id.map_or_else(none, |id| HEXLOWER.encode(&id))));
    facts.push(("JWT key ID", jwt_key_id.as_ref().map_or_else(none, ToString::to_string)));
    Ok(Answer::text(head, json)
        .with_text(&facts_text(facts))
        .with_text(&facts_text(key_places.clone()))
        .with_text(&warnings.join("\n")))
}

/// By the names under which they are shown.
fn key_places_json(places: &[(&'static str, String)]) -> Value {
    places.iter().map(|(name, place)| (name.replace(' ', "_"), Value::from(place.as_str()))).collect()
}

fn load(args: &ConfigArgs) -> Result<CaConfig, Failure> {
    CaConfig::load(&args.config).map_err(|faults| Failure::failed("the configuration of the CA is refused").because(faults))
}
