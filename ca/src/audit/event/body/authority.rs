//! What the events of authorities and rotations say.

use data_encoding::HEXLOWER;
use pki::Sha256Digest;

use super::super::AuthorityAction;
use super::{Body, Fill};
use crate::authority::lifecycle::AuthorityName;
use crate::authority::lifecycle::gate::Accepted;
use crate::authority::lifecycle::rotation::{Outcome, Pace, Rotation};

pub(super) fn describe(action: &AuthorityAction, body: &mut Body) {
    let mut of = |name: &AuthorityName, key: &Option<Sha256Digest>| {
        body.text("authority", name);
        if let Some(key) = key {
            body.text("key", HEXLOWER.encode(key));
        }
    };
    match action {
        AuthorityAction::Moved { name, parent, from, to, key, not_after } => {
            of(name, key);
            body.text("to", to);
            for (field, text) in [
                ("parent", parent.map(|parent| parent.to_string())),
                ("from", from.map(|from| from.to_string())),
                ("not_after", not_after.map(|end| end.to_string())),
            ] {
                if let Some(text) = text {
                    body.text(field, text);
                }
            }
        }
        AuthorityAction::Tainted { name, key } | AuthorityAction::KeyDestroyed { name, key } => of(name, key),
        AuthorityAction::Published { name, sequence } | AuthorityAction::TaintPublished { name, sequence } => {
            of(name, &None);
            body.number("bundle_sequence", *sequence);
        }
        AuthorityAction::LossesAccepted { name, accepted } => {
            of(name, &None);
            describe_accepted(accepted, body);
        }
        AuthorityAction::UpstreamTaken { upstream, key, roots, not_after } => {
            body.text("upstream", upstream.as_str());
            body.text("key", HEXLOWER.encode(key));
            body.list("roots", roots.iter().map(|root| HEXLOWER.encode(root)));
            body.text("not_after", not_after);
        }
        AuthorityAction::UpstreamRefused { upstream, why } => {
            body.text("upstream", upstream.as_str());
            body.text("why", why);
        }
        AuthorityAction::RotationStarted(rotation) | AuthorityAction::RotationChanged(rotation) => {
            let Rotation { from, started_at, pace, aborting, accepted } = rotation;
            of(from, &None);
            body.text("started_at", started_at);
            body.text(
                "pace",
                match pace {
                    Pace::Natural => "natural",
                    Pace::Taint => "taint",
                },
            );
            body.text("aborting", aborting);
            describe_accepted(accepted, body);
        }
        AuthorityAction::RotationEnded { from, outcome } => {
            of(from, &None);
            body.text(
                "outcome",
                match outcome {
                    Outcome::Completed => "completed",
                    Outcome::RolledBack => "rolled_back",
                },
            );
        }
    }
}

fn describe_accepted(accepted: &Accepted, body: &mut Body) {
    let Accepted { nodes, leaves, tokens, files } = accepted;
    body.list("accepted_nodes", nodes);
    body.number("accepted_leaves", *leaves);
    body.text("accepted_tokens", tokens);
    body.text("accepted_files", files);
}
