//! What a restore loses: all that the CA did after the backup. How much that was nobody knows for certain, since the record of it is what is
//! lost; checkpoints that agents keep tell of a part. Pure.

use pki::Timestamp;
use pki::checkpoint::Checkpoint;

use super::manifest::Manifest;
use crate::audit::ShownCheckpoint;

/// What is known of the time after a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// From when on nothing is on record.
    pub from: Timestamp,
    /// Until when: the restore.
    pub to: Timestamp,
    /// The last event that is on record.
    pub events: u64,
    /// How many later events the checkpoints speak for that were shown; `None` when none was.
    pub events_lost: Option<u64>,
    /// Where the checkpoint comes from that speaks for the most.
    pub shown_by: Option<String>,
}

impl Loss {
    /// Of a restore at `now`, as far as these checkpoints tell.
    #[must_use]
    pub fn of(manifest: &Manifest, shown: &[ShownCheckpoint], now: Timestamp) -> Self {
        let ours = shown.iter().filter(|shown| shown.checkpoint.checkpoint().trust_domain.as_str() == manifest.trust_domain);
        let furthest = ours.max_by_key(|shown| shown.checkpoint.checkpoint().sequence);
        let lost = furthest.map(|shown| {
            let Checkpoint { sequence, .. } = shown.checkpoint.checkpoint();
            sequence.saturating_sub(manifest.events)
        });
        Self {
            from: Timestamp::from_unix_seconds(manifest.made_at),
            to: now,
            events: manifest.events,
            events_lost: lost,
            shown_by: furthest.map(|shown| shown.source.clone()),
        }
    }

    /// It, for people, a fact a line.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let Self { from, to, events, events_lost, shown_by } = self;
        let hours = to.since(*from).as_secs() / 3600;
        let minutes = to.since(*from).as_secs() % 3600 / 60;
        let mut told = vec![
            format!("the backup was made at {from}, {hours} h {minutes} min ago, and ends with audit event {events}"),
            "whatever the CA recorded since then: certificates and tokens that it issued, which are good until their end and of which it will not \
             know; nodes that joined, which need new join tokens"
                .to_owned(),
            "bans, evictions, revocations, deleted entries since then: make them again, or what they took away is granted again".to_owned(),
            "rotations since then: agents that know only a later root need a new join token or trust bundle".to_owned(),
            "join tokens that were not used: they are ended, since they may have been used meanwhile".to_owned(),
            "that a provisioning certificate was used since then: whoever has its key may attest by it once more until its end".to_owned(),
        ];
        match (events_lost, shown_by) {
            (Some(0), Some(source)) => told.push(format!("{source} keeps no later checkpoint: no loss is seen from there")),
            (Some(lost), Some(source)) => {
                told.push(format!("{source} keeps a checkpoint over event {}: at least {lost} events are lost", events + lost));
            }
            _ => told
                .push("no checkpoint of an agent was shown (--checkpoint), so nobody knows how many events are lost".to_owned()),
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use identity::TrustDomain;
    use pki::checkpoint::{CheckpointKey, NO_CHECKPOINT};
    use pki::{KeyAlgorithm, PrivateKey};

    use super::super::manifest::tests::manifest;
    use super::*;

    fn shown(domain: &str, sequence: u64) -> ShownCheckpoint {
        let key = CheckpointKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap();
        let checkpoint = Checkpoint {
            trust_domain: TrustDomain::parse(domain).unwrap(),
            sequence,
            head: [1; 32],
            time: Timestamp::from_unix_seconds(1_800_000_100),
            previous: NO_CHECKPOINT,
        };
        ShownCheckpoint { source: format!("n{sequence}.json"), checkpoint: key.sign(checkpoint).unwrap() }
    }

    #[test]
    fn the_checkpoint_that_goes_furthest_tells_how_much_is_lost() {
        let now = Timestamp::from_unix_seconds(1_800_000_000 + 2 * 3600 + 120);
        let none = Loss::of(&manifest(), &[], now);
        assert_eq!((none.events_lost, none.events), (None, 20));
        let told = none.told().join("\n");
        assert!(told.contains("2 h 2 min ago") && told.contains("nobody knows how many"), "{told}");
        let some = Loss::of(&manifest(), &[shown("example.org", 25), shown("example.org", 22), shown("other.org", 99)], now);
        assert_eq!(some.events_lost, Some(5), "another trust domain's says nothing of this one");
        assert!(
            some.told().join("\n").contains("n25.json keeps a checkpoint over event 25: at least 5 events"),
            "{:?}",
            some.told()
        );
        let none = Loss::of(&manifest(), &[shown("example.org", 20)], now);
        assert!(none.events_lost == Some(0) && none.told().join("\n").contains("no loss is seen"), "{none:?}");
    }
}
