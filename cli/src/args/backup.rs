//! `ca backup` and `ca restore`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use runtime::secret_source::SecretSource;

use super::CaSocketArgs;

/// `ca backup`
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<BackupVerb>,
    /// The file to write, which is not there yet
    #[arg(value_name = "FILE", required = true)]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: Option<PassphraseArgs>,
    /// Of a CA that is stopped: its configuration file. Without it the running CA is asked
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `ca backup ...`
#[derive(Debug, Subcommand)]
pub(crate) enum BackupVerb {
    /// Read a backup to its end, and say what is in it
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyBackupArgs),
}

/// `ca backup verify`
#[derive(Args, Debug)]
pub(crate) struct VerifyBackupArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
}

/// `ca restore`
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The state directory to make; it is not there yet, or empty
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: PathBuf,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    /// A checkpoint that an agent keeps, as `signet agent checkpoint -o json` writes it: it tells how much is lost. Repeat for more
    #[arg(long = "checkpoint", value_name = "FILE", num_args = 1..)]
    pub(crate) checkpoints: Vec<PathBuf>,
    /// Go back in time: what the CA did after the backup is lost, which is told without this
    #[arg(long)]
    pub(crate) accept_loss: bool,
}

/// Where the passphrase of a backup is.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct PassphraseArgs {
    /// A file of mode 0600 with the passphrase of the backup, one line
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The same as a credential of a systemd unit (`LoadCredential=NAME:FILE`)
    #[arg(long, value_name = "NAME")]
    passphrase_credential: Option<String>,
}

impl PassphraseArgs {
    /// Where to read it.
    pub(crate) fn source(&self) -> Option<SecretSource> {
        let file = self.passphrase_file.clone().map(SecretSource::File);
        file.or_else(|| self.passphrase_credential.clone().map(SecretSource::Credential))
    }
}

pub(super) const BACKUP_HELP: &str = "\
Examples:
  signet ca backup /backup/ca-2026-11-22 --passphrase-file /etc/signet/backup-passphrase
  signet ca backup ca.backup --passphrase-file phrase --config /etc/signet/ca.toml
  signet ca backup verify ca.backup --passphrase-file phrase

Store and keys of one moment, in one file that opens with the passphrase alone. Keys in a PKCS #11 token are not in it. docs/backup.md says more.";

const VERIFY_HELP: &str = "\
Example:
  signet ca backup verify ca.backup --passphrase-file phrase";

pub(super) const RESTORE_HELP: &str = "\
Examples:
  signet ca restore ca.backup --state-dir /var/lib/signet/ca --passphrase-file phrase
  signet ca restore ca.backup --state-dir /var/lib/signet/ca --passphrase-file phrase --checkpoint n1.json n2.json --accept-loss

Run it as the user of the CA, and only when the former CA is stopped for good. The first line says what would be lost.";
