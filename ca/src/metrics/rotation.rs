//! Authorities and their rotations as numbers, read from what the rotation task shows when somebody scrapes.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::watch;

use super::signed;
use crate::authority::lifecycle::gate::Waiting;
use crate::authority::lifecycle::rotation::Phase;
use crate::authority::lifecycle::schedule::{Policy, due_at};
use crate::authority::lifecycle::{AuthorityKind, Slot};
use crate::rotation::{ReplicaStanding, RotationStanding, RotationView};

/// The names as served; each is there from the start.
#[cfg(test)]
pub(super) const NAMES: [&str; 7] = [
    "signet_ca_authorities",
    "signet_ca_authority_due_timestamp_seconds",
    "signet_ca_rotation_phase",
    "signet_ca_rotation_behind",
    "signet_ca_rotation_leaves_left",
    "signet_ca_replica_lives",
    "signet_ca_replica_leads",
];

const PHASES: [(Phase, &str); 4] =
    [(Phase::Prepare, "prepare"), (Phase::Distribute, "distribute"), (Phase::Replace, "replace"), (Phase::Withdraw, "withdraw")];

/// Reads the view.
pub(crate) struct RotationCollector {
    /// What the rotation task shows.
    pub(crate) view: watch::Receiver<Arc<RotationView>>,
    /// When authorities are due, whether or not they are replaced without being asked.
    pub(crate) policy: Policy,
}

impl std::fmt::Debug for RotationCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RotationCollector")
    }
}

impl Collector for RotationCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let view = Arc::clone(&self.view.borrow());
        let mut gauge = |name: &str, help: &str, samples: &[(&[(&str, &str)], i64)]| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            samples.iter().try_for_each(|(labels, value)| ConstGauge::new(*value).encode(family.encode_family(labels)?))
        };
        let kinds = AuthorityKind::ALL;

        let mut slots = Vec::new();
        for kind in kinds {
            for slot in Slot::ALL {
                let count = view.lifecycle.of(kind).filter(|authority| authority.slot == slot).count();
                slots.push(([("kind", kind.as_str()), ("slot", slot.as_str())], signed(count)));
            }
        }
        let samples: Vec<_> = slots.iter().map(|(labels, value)| (&labels[..], *value)).collect();
        gauge("ca_authorities", "Authorities of this CA, by the slot that they stand in", &samples)?;

        let by_kind = |value: &dyn Fn(AuthorityKind) -> i64| kinds.map(|kind| ([("kind", kind.as_str())], value(kind)));
        let due = by_kind(&|kind| {
            let due = view.lifecycle.active(kind).and_then(|active| due_at(active, self.policy));
            due.map_or(0, |due| signed(due.unix_seconds()))
        });
        let samples: Vec<_> = due.iter().map(|(labels, value)| (&labels[..], *value)).collect();
        let help = "From when on the active authority should have a successor, in Unix seconds; 0 when there is none of its own";
        gauge("ca_authority_due_timestamp_seconds", help, &samples)?;

        let mut phases = Vec::new();
        for kind in kinds {
            for (phase, name) in PHASES {
                let is_in = under_way(&view, kind).is_some_and(|standing| standing.phase == phase);
                phases.push(([("kind", kind.as_str()), ("phase", name)], i64::from(is_in)));
            }
        }
        let samples: Vec<_> = phases.iter().map(|(labels, value)| (&labels[..], *value)).collect();
        gauge("ca_rotation_phase", "1 for the phase that a rotation is in", &samples)?;

        let mut behind = Vec::new();
        for kind in kinds {
            for (receiver, count) in Behind::of(under_way(&view, kind)).counts() {
                behind.push(([("kind", kind.as_str()), ("receiver", receiver)], signed(count)));
            }
        }
        let samples: Vec<_> = behind.iter().map(|(labels, value)| (&labels[..], *value)).collect();
        gauge("ca_rotation_behind", "Receivers that a rotation waits for", &samples)?;

        let left = by_kind(&|kind| signed(under_way(&view, kind).map_or(0, leaves_left)));
        let samples: Vec<_> = left.iter().map(|(labels, value)| (&labels[..], *value)).collect();
        gauge("ca_rotation_leaves_left", "Certificates that a rotation waits for, on the authority that it replaces", &samples)?;

        let by_replica = |is_so: fn(&ReplicaStanding) -> bool| -> Vec<_> {
            view.replicas.iter().map(|replica| ([("replica", replica.name.as_str())], i64::from(is_so(replica)))).collect()
        };
        let lives = by_replica(|replica| replica.lives);
        let samples: Vec<_> = lives.iter().map(|(labels, value)| (&labels[..], *value)).collect();
        gauge("ca_replica_lives", "1 for each replica on record behind which a process is, as this one sees it", &samples)?;
        let leads = by_replica(|replica| replica.leads);
        let samples: Vec<_> = leads.iter().map(|(labels, value)| (&labels[..], *value)).collect();
        gauge("ca_replica_leads", "1 for the replica that leads what all share", &samples)
    }
}

fn under_way(view: &RotationView, kind: AuthorityKind) -> Option<&RotationStanding> {
    view.rotation(kind).filter(|standing| standing.is_under_way())
}

fn leaves_left(standing: &RotationStanding) -> u64 {
    let leaves = standing.waits.iter().map(|wait| match wait {
        Waiting::Leaves { left, .. } => *left,
        Waiting::Publication
        | Waiting::Replicas(_)
        | Waiting::Agents { .. }
        | Waiting::Streams { .. }
        | Waiting::Files { .. }
        | Waiting::Objects { .. }
        | Waiting::PropagationHold { .. }
        | Waiting::Svids { .. }
        | Waiting::Tokens { .. } => 0,
    });
    leaves.max().unwrap_or_default()
}

/// Whom a rotation waits for.
#[derive(Default)]
struct Behind {
    agents: u64,
    streams: u64,
    files: u64,
    objects: u64,
}

impl Behind {
    fn of(standing: Option<&RotationStanding>) -> Self {
        let mut behind = Self::default();
        for wait in standing.into_iter().flat_map(|standing| &standing.waits) {
            match wait {
                Waiting::Agents { behind: nodes, .. } => behind.agents = u64::try_from(nodes.len()).unwrap_or(u64::MAX),
                Waiting::Streams { behind: streams, .. } => behind.streams = *streams,
                Waiting::Files { behind: sets, .. } => behind.files = *sets,
                Waiting::Objects { behind: objects, .. } => behind.objects += *objects,
                Waiting::Publication
                | Waiting::Replicas(_)
                | Waiting::PropagationHold { .. }
                | Waiting::Leaves { .. }
                | Waiting::Svids { .. }
                | Waiting::Tokens { .. } => {}
            }
        }
        behind
    }

    fn counts(self) -> [(&'static str, u64); 4] {
        [("agents", self.agents), ("streams", self.streams), ("files", self.files), ("objects", self.objects)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use identity::NodeName;
    use pki::Timestamp;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::authority::lifecycle::gate::Accepted;
    use crate::authority::lifecycle::rotation::{Outcome, Pace, Rotation};
    use crate::authority::lifecycle::{Authority, Lifecycle, Material};
    use crate::rotation::Probes;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    fn jwt() -> Authority {
        Authority {
            name: "jwt-1".parse().unwrap(),
            parent: None,
            slot: Slot::Active,
            since: at(10),
            material: Some(Material { key: [7; 32], public_der: vec![1], not_before: at(10), not_after: None }),
            published_in: Some(1),
            tainted_at: None,
            taint_published_in: None,
            destroyed: false,
        }
    }

    fn replica(name: &str, lives: bool) -> ReplicaStanding {
        ReplicaStanding {
            name: identity::ReplicaName::parse(name).unwrap(),
            address: String::new(),
            serial_byte: 1,
            seen_at: at(20),
            is_this: lives,
            lives,
            leads: lives,
            is_leaving: false,
            waits: Vec::new(),
        }
    }

    fn text(rotations: Vec<RotationStanding>) -> String {
        let view = RotationView {
            lifecycle: Lifecycle::restore([jwt()]).unwrap().into(),
            rotations,
            facts: Arc::default(),
            bundle_sequence: 1,
            plugged_in: None,
            upstream: None,
            path: Arc::default(),
            key_places: Arc::default(),
            faults: Vec::new(),
            replicas: [replica("ca-a", true), replica("ca-b", false)].into(),
            at: at(20),
        };
        let policy = Policy { jwt_key_life: std::time::Duration::from_secs(90), is_issuer_foreign: false };
        let (_sender, view) = watch::channel(Arc::new(view));
        let mut registry = Registry::with_prefix("signet");
        registry.register_collector(Box::new(RotationCollector { view, policy }));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn slots_times_phases_and_what_is_awaited_are_told() {
        let nodes: BTreeSet<_> = [NodeName::parse("n1").unwrap()].into();
        let standing = RotationStanding {
            rotation: Rotation {
                from: "jwt-1".parse().unwrap(),
                started_at: at(15),
                pace: Pace::Taint,
                aborting: false,
                accepted: Accepted::default(),
            },
            phase: Phase::Distribute,
            began: Vec::new(),
            waits: vec![
                Waiting::Agents { sequence: 2, behind: nodes.clone(), absent: BTreeSet::new(), of: 2 },
                Waiting::Streams { nodes, behind: 5 },
                Waiting::Leaves { left: 4, last_end: None },
            ],
            leaves_most: 4,
            probes: Probes::default(),
            outcome: None,
        };
        let told = text(vec![standing.clone()]);
        for line in [
            "signet_ca_authorities{kind=\"jwt\",slot=\"active\"} 1",
            "signet_ca_authorities{kind=\"root\",slot=\"active\"} 0",
            "signet_ca_authority_due_timestamp_seconds{kind=\"jwt\"} 100",
            "signet_ca_authority_due_timestamp_seconds{kind=\"root\"} 0",
            "signet_ca_rotation_phase{kind=\"jwt\",phase=\"distribute\"} 1",
            "signet_ca_rotation_phase{kind=\"jwt\",phase=\"prepare\"} 0",
            "signet_ca_rotation_behind{kind=\"jwt\",receiver=\"agents\"} 1",
            "signet_ca_rotation_behind{kind=\"jwt\",receiver=\"streams\"} 5",
            "signet_ca_rotation_behind{kind=\"jwt\",receiver=\"files\"} 0",
            "signet_ca_rotation_leaves_left{kind=\"jwt\"} 4",
            "signet_ca_replica_lives{replica=\"ca-a\"} 1",
            "signet_ca_replica_lives{replica=\"ca-b\"} 0",
            "signet_ca_replica_leads{replica=\"ca-a\"} 1",
        ] {
            assert!(told.lines().any(|told| told == line), "{line} is missing in:\n{told}");
        }
        // One that is over waits for nothing, and is in no phase.
        let over = text(vec![RotationStanding { outcome: Some(Outcome::Completed), ..standing }]);
        assert!(over.contains("signet_ca_rotation_phase{kind=\"jwt\",phase=\"distribute\"} 0"), "{over}");
        assert!(over.contains("signet_ca_rotation_behind{kind=\"jwt\",receiver=\"agents\"} 0"), "{over}");
    }

    #[test]
    fn what_is_served_is_what_is_listed() {
        let told = text(Vec::new());
        let served: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        assert_eq!(served, NAMES);
    }
}
