//! `revoke`, `unrevoke` and `revocation ...` as typed.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use identity::{NodeName, SpiffeId};
use pki::SerialNumber;

use super::CaSocketArgs;

/// `revoke`
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).args(["serial", "spiffe_id", "node", "entry"]))]
pub(crate) struct RevokeArgs {
    /// One certificate, by its serial number in hex; its holder gets another one at once
    #[arg(long, value_name = "HEX", value_parser = serial)]
    pub(crate) serial: Option<SerialNumber>,
    /// An identity: every certificate of it, and nothing is issued for it until `unrevoke`
    #[arg(long, value_name = "ID")]
    pub(crate) spiffe_id: Option<SpiffeId>,
    /// A node: its own certificate and every one that was issued to it, and it is banned until `unrevoke`
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<NodeName>,
    /// What was issued for an entry, which may be deleted already
    #[arg(long, value_name = "ENTRY")]
    pub(crate) entry: Option<String>,
    /// Why, for whoever reads the revocation list
    #[arg(long, value_enum)]
    pub(crate) reason: Option<ReasonArg>,
    /// Say what would be revoked; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `unrevoke`
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).args(["spiffe_id", "node"]))]
pub(crate) struct UnrevokeArgs {
    /// The identity: certificates are issued for it again
    #[arg(long, value_name = "ID")]
    pub(crate) spiffe_id: Option<SpiffeId>,
    /// The node: it may attest again
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<NodeName>,
    #[command(flatten)]
    pub(crate) admin: CaSocketArgs,
}

/// `revocation ...`
#[derive(Debug, Subcommand)]
pub(crate) enum RevocationVerb {
    /// The revocation lists that are sent, the identities that are denied, the certificates that are revoked
    #[command(after_help = LIST_HELP)]
    List(CaSocketArgs),
}

/// Why a certificate is revoked (RFC 5280 section 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReasonArg {
    /// The key is known to somebody else, or may be
    KeyCompromise,
    /// The holder is somebody else now
    AffiliationChanged,
    /// There is another certificate in its place
    Superseded,
    /// The holder is gone
    CessationOfOperation,
    /// The holder may not have it any more
    PrivilegeWithdrawn,
}

/// A serial number as other tools write it too: digits in either case, with colons, with leading zeros.
fn serial(text: &str) -> Result<SerialNumber, String> {
    let digits: String = text.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
    let digits = digits.strip_prefix("0x").unwrap_or(&digits);
    // The sign byte of the DER, which some tools show.
    let digits = digits.strip_prefix("00").unwrap_or(digits);
    digits.parse().map_err(|error| format!("{error}; `signet svid inspect FILE` shows that of a certificate"))
}

pub(super) const REVOKE_HELP: &str = "\
Examples:
  signet revoke --spiffe-id spiffe://example.org/web --reason key-compromise --dry-run
  signet revoke --spiffe-id spiffe://example.org/web --reason key-compromise
  signet revoke --node n1
  signet revoke --serial 01a94c27e3f0b5d2

A certificate that is revoked stays so. An identity or a node comes back by `signet unrevoke`, with new keys.";

pub(super) const UNREVOKE_HELP: &str = "\
Examples:
  signet unrevoke --spiffe-id spiffe://example.org/web
  signet unrevoke --node n1

What was revoked stays revoked: the identity gets new keys and certificates.";

pub(super) const REVOCATION_HELP: &str = "\
Example:
  signet revocation list";

const LIST_HELP: &str = "\
Example:
  signet revocation list -o json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_taken_as_tools_write_it() {
        let plain = serial("01a94c27e3f0b5d2").unwrap();
        for other in ["01A94C27E3F0B5D2", "01:a9:4c:27:e3:f0:b5:d2", "0x01a94c27e3f0b5d2", "0001a94c27e3f0b5d2"] {
            assert_eq!(serial(other).unwrap(), plain, "{other}");
        }
        for bad in ["", "0", "00", "xyz", "1", &"11".repeat(21)] {
            assert!(serial(bad).unwrap_err().contains("svid inspect"), "{bad}");
        }
    }
}
