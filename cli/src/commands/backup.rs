//! `ca backup` and `ca restore`.

use std::path::Path;

use ca::backup::{BackupError, KeyPlace, Loss, Manifest, RestoreError, RestoreOptions, VerifiedBackup};
use ca::config::CaConfig;
use pki::{Passphrase, Timestamp};
use proto::v1::MakeBackupRequest;
use proto::v1::backup_client::BackupClient;
use runtime::clock::SystemClock;
use runtime::entropy::SystemEntropy;
use runtime::private_files::PrivateFileWriter;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::audit::read_checkpoints;
use crate::admin_client::ca_backup;
use crate::args::{BackupArgs, BackupVerb, PassphraseArgs, RestoreArgs, VerifyBackupArgs};
use crate::failure::Failure;
use crate::output::{Answer, facts_text, printable};
use crate::output_format::OutputFormat;

/// Of `ca backup`.
pub(super) async fn backup(args: BackupArgs, format: OutputFormat) -> Result<(), Failure> {
    let BackupArgs { verb, file, passphrase, config, admin } = args;
    if let Some(BackupVerb::Verify(args)) = verb {
        return verify(&args)?.print(format);
    }
    let (Some(file), Some(passphrase)) = (file, passphrase) else {
        return Err(Failure::usage("a backup needs a file and a passphrase").advise("the same line with `--help`"));
    };
    let made = match config {
        Some(config) => offline(&config, &file, &passphrase).await?,
        None => online(&admin.socket, &file, &passphrase).await?,
    };
    describe("the backup is written and reads back", &file, &made).print(format)
}

fn verify(args: &VerifyBackupArgs) -> Result<Answer, Failure> {
    let read = ca::backup::verify(&args.file, &secret(&args.passphrase)?).map_err(|error| unread(&args.file, &error))?;
    Ok(describe("the backup is whole", &args.file, &read))
}

async fn offline(config: &Path, file: &Path, passphrase: &PassphraseArgs) -> Result<VerifiedBackup, Failure> {
    let config =
        CaConfig::load(config).map_err(|faults| Failure::failed("the configuration of the CA is refused").because(faults))?;
    let made = ca::backup::make(&config, file, secret(passphrase)?, SystemClock::shared().as_ref(), &SystemEntropy).await;
    made.map_err(|error| {
        let is_running = matches!(&error, BackupError::File(runtime::private_files::PrivateFileError::Locked { .. }));
        let failure = Failure::failed("no backup was made").because(error);
        if is_running { failure.advise("ask the running CA: leave `--config` out, and name its `--socket`") } else { failure }
    })
}

/// What comes is sealed; it is read back before it gets its name.
async fn online(socket: &Path, file: &Path, passphrase: &PassphraseArgs) -> Result<VerifiedBackup, Failure> {
    let unwritten = |error: &dyn std::fmt::Display| Failure::failed("no backup was made").because(error);
    let read = secret(passphrase)?;
    let plain = bytes(passphrase)?;
    let mut writer = PrivateFileWriter::create(file).map_err(|error| unwritten(&error))?;
    let failed = |status| Failure::from_status("ca backup", &status);
    let mut client: BackupClient<_> = ca_backup(socket).await?;
    let request = tonic::Request::new(MakeBackupRequest { passphrase: plain.to_vec() });
    let mut pieces = client.make_backup(request).await.map_err(failed)?.into_inner();
    while let Some(piece) = pieces.message().await.map_err(failed)? {
        writer.write(&piece.content).map_err(|error| unwritten(&error))?;
    }
    writer.sync().map_err(|error| unwritten(&error))?;
    let made = ca::backup::verify(writer.now_at(), &read).map_err(|error| unread(file, &error))?;
    writer.finish().map_err(|error| unwritten(&error))?;
    Ok(made)
}

/// Of `ca restore`.
pub(super) async fn restore(args: &RestoreArgs) -> Result<Answer, Failure> {
    let RestoreArgs { file, state_dir, passphrase, checkpoints, accept_loss } = args;
    let shown = checkpoints.iter().map(|path| read_checkpoints(path)).collect::<Result<Vec<_>, _>>()?;
    let options = RestoreOptions { accept_loss: *accept_loss, shown: shown.into_iter().flatten().collect() };
    let clock = SystemClock::shared();
    let restored = ca::backup::restore(file, state_dir, secret(passphrase)?, options, clock.as_ref()).await;
    let restored = restored.map_err(|error| {
        if let RestoreError::GoesBack(lost) = &error {
            return Failure::refused("nothing was restored: that would go back in time").because(lost.join("\n")).advise(
                "look for a newer backup or the former state directory; when this is what there is, say `--accept-loss`",
            );
        }
        unread(file, &error)
    })?;
    let Loss { from, to, events, events_lost, shown_by: _ } = &restored.loss;
    let lost = restored.loss.told();
    let json = json!({
        "state_dir": state_dir,
        "backup": manifest_json(&restored.manifest),
        "lost": { "from": from.to_string(), "to": to.to_string(), "events_kept": events, "events_lost_at_least": events_lost, "told": lost },
        "tokens_ended": restored.tokens_ended,
        "audit_event": restored.event,
    });
    let head = format!("{} was made of {}; audit event {} says so", state_dir.display(), file.display(), restored.event);
    let lines: Vec<_> = lost.iter().map(|line| format!(" ! {}", printable(line))).collect();
    let next = "next: start the CA with this state directory, make bans and revocations of that time again, then `signet audit acknowledge-fork` once \
                agents have shown theirs, and `signet drill issuer` (or `root`) where what was issued meanwhile shall not count (docs/backup.md)";
    Ok(Answer::text(head, json).with_text(&lines.join("\n")).with_text(next))
}

fn secret(args: &PassphraseArgs) -> Result<Passphrase, Failure> {
    Passphrase::new(bytes(args)?).map_err(|error| unusable(&error))
}

fn bytes(args: &PassphraseArgs) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let source = args.source().ok_or_else(|| Failure::usage("a backup has a passphrase: name its file"))?;
    source.read(Passphrase::MAX_FILE_BYTES).map(Zeroizing::new).map_err(|error| unusable(&error))
}

fn unusable(error: &dyn std::fmt::Display) -> Failure {
    Failure::failed("the passphrase of the backup cannot be used")
        .because(error)
        .advise("make one: (umask 077; head -c 24 /dev/urandom | base64 > FILE), and keep it where the backups are not")
}

fn unread(file: &Path, error: &RestoreError) -> Failure {
    Failure::failed(format!("{} is refused", file.display())).because(error)
}

fn describe(head: &str, file: &Path, backup: &VerifiedBackup) -> Answer {
    let VerifiedBackup { manifest, bytes } = backup;
    let made_at = Timestamp::from_unix_seconds(manifest.made_at);
    let authorities = manifest.authorities.iter().map(|one| format!("{} ({}, key {})", one.name, one.slot, one.place.as_str()));
    let facts = facts_text([
        ("file", format!("{} ({bytes} bytes)", file.display())),
        (
            "made",
            format!(
                "{made_at} by build {}, of a CA that was {}",
                manifest.build,
                if manifest.was_running { "running" } else { "stopped" }
            ),
        ),
        ("trust domain", manifest.trust_domain.clone()),
        ("audit chain", format!("{} events, head {}", manifest.events, manifest.head)),
        ("bundle sequence", manifest.bundle_sequence.map_or("none yet".to_owned(), |sequence| sequence.to_string())),
        ("authorities", authorities.collect::<Vec<_>>().join(", ")),
        ("files", format!("{}, the store of {} bytes among them", manifest.files.len(), store_bytes(manifest))),
    ]);
    let absent = |place| {
        manifest.authorities.iter().filter(move |one| one.place == place).map(|one| one.name.as_str()).collect::<Vec<_>>()
    };
    let mut missing = Vec::new();
    for (place, what) in [
        (KeyPlace::Token, "are in a PKCS #11 token and not in this backup; back the token up by its own means"),
        (
            KeyPlace::Memory,
            "were in the memory of the CA and are in no backup; its next start has another issuing CA signed upstream",
        ),
        (KeyPlace::Elsewhere, "were not in the state directory and are not in this backup"),
    ] {
        let names = absent(place);
        if !names.is_empty() {
            missing.push(format!(" ! the keys of {} {what}", names.join(", ")));
        }
    }
    if let Some(directory) = &manifest.plugged_in {
        missing.push(format!(" ! root and issuing CA come from {} and are not in this backup", printable(directory)));
    }
    let json = json!({ "file": file, "bytes": bytes, "backup": manifest_json(manifest) });
    Answer::text(head, json).with_text(&facts).with_text(&missing.join("\n"))
}

fn store_bytes(manifest: &Manifest) -> u64 {
    manifest.files.first().map_or(0, |store| store.bytes)
}

fn manifest_json(manifest: &Manifest) -> Value {
    let time = |seconds| Timestamp::from_unix_seconds(seconds).to_string();
    json!({
        "trust_domain": manifest.trust_domain,
        "build": manifest.build,
        "made_at": time(manifest.made_at),
        "was_running": manifest.was_running,
        "schema": manifest.schema,
        "events": manifest.events,
        "head": manifest.head,
        "latest_issuance": time(manifest.latest_issuance),
        "bundle_sequence": manifest.bundle_sequence,
        "authorities": manifest.authorities.iter().map(|one| json!({
            "name": one.name, "slot": one.slot, "key": one.key, "key_is": one.place.as_str(),
        })).collect::<Vec<_>>(),
        "plugged_in": manifest.plugged_in,
        "files": manifest.files.iter().map(|file| json!({ "path": file.path, "bytes": file.bytes, "sha256": file.sha256 })).collect::<Vec<_>>(),
    })
}
