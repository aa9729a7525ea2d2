//! `testdata/svid-hostile`: chains and bundles made to pass where they should not, each file with the one error that must refuse
//! it and the accepted file that it differs from in one thing.

mod anchors;
mod certificate;
mod chains;
mod leaves;
mod parsing;
mod replay;

use certificate::{Made, Plan};
use data_encoding::BASE64;
use serde_json::{Value, json};

/// The time of all validations, 2026-11-20T11:00:00Z, in seconds since 1970.
pub(crate) const NOW: u64 = 1_795_172_400;

/// The certificate of the issuing CA that most chains go through.
pub(crate) fn issuer_der() -> Vec<u8> {
    issuer(&root()).der
}

fn root() -> Made {
    Plan::authority("root").self_signed()
}

fn issuer(root: &Made) -> Made {
    Plan::authority("issuer").under(root)
}

/// One file: a chain, leaf first, and the bundle that it is judged by.
struct Case {
    name: String,
    about: String,
    trust_domain: String,
    chain: Vec<Vec<u8>>,
    bundle: Vec<Vec<u8>>,
    /// The bundle by which a chain that was accepted is judged anew.
    later_bundle: Option<Vec<Vec<u8>>>,
    now: u64,
    /// The variant that refuses it, and its accepted twin.
    refused: Option<(String, String)>,
}

/// An accepted chain.
fn good(name: &str, about: &str, chain: Vec<Vec<u8>>, bundle: Vec<Vec<u8>>) -> Case {
    Case {
        name: name.to_owned(),
        about: about.to_owned(),
        trust_domain: "example.org".to_owned(),
        chain,
        bundle,
        later_bundle: None,
        now: NOW,
        refused: None,
    }
}

/// A refused chain.
fn bad(name: &str, about: &str, chain: Vec<Vec<u8>>, bundle: Vec<Vec<u8>>, by: &str, twin: &str) -> Case {
    Case { refused: Some((by.to_owned(), twin.to_owned())), ..good(name, about, chain, bundle) }
}

impl Case {
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn file(&self) -> String {
        format!("{}.json", self.name)
    }

    fn text(&self) -> String {
        let base64 = |all: &[Vec<u8>]| all.iter().map(|der| BASE64.encode(der)).collect::<Vec<_>>();
        let mut case = json!({
            "about": self.about,
            "trust_domain": self.trust_domain,
            "now": self.now,
            "bundle": base64(&self.bundle),
            "chain": base64(&self.chain),
        });
        if let Some(later) = &self.later_bundle {
            case["later_bundle"] = base64(later).into();
        }
        match &self.refused {
            None => case["accepted"] = Value::Bool(true),
            Some((by, twin)) => {
                case["refused"] = by.as_str().into();
                case["twin"] = format!("{twin}.json").into();
            }
        }
        serde_json::to_string_pretty(&case).unwrap() + "\n"
    }
}

fn corpus() -> Vec<Case> {
    [leaves::cases(), parsing::cases(), chains::cases(), anchors::cases()].into_iter().flatten().collect()
}
