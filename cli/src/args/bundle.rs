//! `bundle ...`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use identity::TrustDomain;

use super::CaSocketArgs;

/// `bundle ...`
#[derive(Debug, Subcommand)]
pub(crate) enum BundleVerb {
    /// The authorities in a trust bundle, and until when they last
    #[command(after_help = SHOW_HELP)]
    Show(BundleSource),
    /// Print a trust bundle as a file that others read
    #[command(after_help = EXPORT_HELP)]
    Export(ExportArgs),
    /// Check a trust bundle whole, and put it in place for programs that read one
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
}

/// Where a bundle is taken from.
#[derive(Args, Debug)]
pub(crate) struct BundleSource {
    /// From a file, PEM or SPIFFE JWKS, instead of from the CA
    #[arg(long, value_name = "FILE", requires = "trust_domain", group = "elsewhere")]
    pub(crate) file: Option<PathBuf>,
    /// Whose bundle: the file's, or which of the agent's
    #[arg(long, value_name = "NAME", requires = "elsewhere")]
    pub(crate) trust_domain: Option<TrustDomain>,
    /// From the node's agent, by its socket for workloads, instead of from the CA
    #[arg(long, value_name = "PATH", group = "elsewhere")]
    pub(crate) api_socket: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `bundle export`
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// The form: `pem` holds X.509 authorities alone
    #[arg(long, value_enum, value_name = "NAME", default_value_t = FileForm::Pem)]
    pub(crate) form: FileForm,
    #[command(flatten)]
    pub(crate) source: BundleSource,
}

/// `bundle import`
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// The bundle, PEM or SPIFFE JWKS; `-` for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Whose bundle it is
    #[arg(long, value_name = "NAME")]
    pub(crate) trust_domain: TrustDomain,
    /// Where it goes: what stands there is replaced as a whole, and never by an older one
    #[arg(long, value_name = "FILE")]
    pub(crate) into: PathBuf,
    /// The form in which it is written
    #[arg(long, value_enum, value_name = "NAME", default_value_t = FileForm::Pem)]
    pub(crate) form: FileForm,
}

/// The form of a bundle in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileForm {
    /// Certificates, one after the other
    Pem,
    /// A JWK Set with all authorities, their sequence too (SPIFFE Trust Domain and Bundle section 4)
    Jwks,
}

pub(super) const BUNDLE_HELP: &str = "\
Examples:
  signet bundle show
  signet bundle export --form jwks > bundle.json
  signet bundle import bundle.json --trust-domain example.org --into /etc/web/trust-bundle.pem";

const SHOW_HELP: &str = "\
Examples:
  signet bundle show
  signet bundle show --api-socket /run/signet/agent/public/api.sock
  signet bundle show --api-socket /run/signet/agent/public/api.sock --trust-domain partner.example
  signet bundle show --file bundle.json --trust-domain example.org";

const EXPORT_HELP: &str = "\
Example:
  signet bundle export --form pem > trust-bundle.pem";

const IMPORT_HELP: &str = "\
Example:
  signet bundle import bundle.json --trust-domain example.org --into /etc/web/trust-bundle.pem";
