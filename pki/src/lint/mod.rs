//! Checks on encoded certificates before a signature: one lint, one demand, one citation.
//!
//! The lints read the DER with a parser of their own and never see the template or its parameters, so that a fault of the
//! encoder or of a profile is found by code that does not share it. A certificate that cannot be parsed is a finding.
//!
//! A lint speaks of one thing: where an extension is absent, the lint that demands its presence fires and those that look into
//! it stay silent.

mod authority;
mod input;
mod leaf;
mod shared;

use identity::{SpiffeId, TrustDomain};

use crate::{AuthorityRole, Certificate};
use input::{Input, Names};

/// One lint that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LintFinding {
    /// The lint's name, lower snake case.
    pub lint: &'static str,
    /// What it demands.
    pub description: &'static str,
    /// Where that is demanded.
    pub citation: &'static str,
}

impl std::fmt::Display for LintFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.lint, self.description, self.citation)
    }
}

/// One demand on a certificate.
struct Lint {
    name: &'static str,
    description: &'static str,
    citation: &'static str,
    /// Whether the certificate meets it.
    holds: fn(&Input<'_>) -> bool,
}

/// Lints a leaf for `id` under `issuer`; empty means clean.
#[must_use]
pub fn lint_leaf(certificate: &Certificate, id: &SpiffeId, issuer: &Certificate) -> Vec<LintFinding> {
    run(&[shared::LINTS, shared::ISSUED_LINTS, leaf::LINTS], certificate.der(), Some(issuer), Names::Leaf(id))
}

/// Lints the certificate of a root (no `issuer`) or of an issuing CA of a trust domain; empty means clean.
#[must_use]
pub fn lint_authority(certificate: &Certificate, trust_domain: &TrustDomain, issuer: Option<&Certificate>) -> Vec<LintFinding> {
    let sets = authority_sets(issuer.map_or(AuthorityRole::Root, |_| AuthorityRole::Issuer));
    run(&sets, certificate.der(), issuer, Names::Authority(trust_domain))
}

fn authority_sets(role: AuthorityRole) -> Vec<&'static [Lint]> {
    match role {
        AuthorityRole::Root => vec![shared::LINTS, authority::LINTS, authority::ROOT_LINTS],
        AuthorityRole::Issuer => vec![shared::LINTS, authority::LINTS, shared::ISSUED_LINTS, authority::ISSUER_LINTS],
    }
}

fn run(sets: &[&[Lint]], der: &[u8], issuer: Option<&Certificate>, names: Names<'_>) -> Vec<LintFinding> {
    let Some(input) = Input::parse(der, issuer, names) else {
        return vec![LintFinding {
            lint: "certificate_parses",
            description: "the certificate is DER without trailing bytes, with extensions that parse",
            citation: "RFC 5280 section 4.1",
        }];
    };
    let fired = sets.iter().flat_map(|set| set.iter()).filter(|lint| !(lint.holds)(&input));
    fired.map(|lint| LintFinding { lint: lint.name, description: lint.description, citation: lint.citation }).collect()
}

#[cfg(test)]
mod tests;
