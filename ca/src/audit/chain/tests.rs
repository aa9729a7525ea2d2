use proptest::prelude::*;

use super::*;

fn chain(length: u64) -> Vec<AuditRecord> {
    let mut head = ChainHead::EMPTY;
    (1..=length)
        .map(|n| {
            let event =
                head.next(Timestamp::from_unix_seconds(1_700_000_000 + n), format!("kind_{}", n % 3), format!("{{\"n\":{n}}}"));
            head = event.head();
            event
        })
        .collect()
}

fn head_of(events: &[AuditRecord]) -> ChainHead {
    events.last().map_or(ChainHead::EMPTY, AuditRecord::head)
}

fn walk(events: &[AuditRecord], recorded_head: ChainHead) -> Result<(), ChainFault> {
    let mut walk = ChainWalk::new(recorded_head);
    events.iter().try_for_each(|event| walk.step(event))?;
    walk.finish()
}

/// Exchanges what two places say, as someone would who swaps rows and keeps the numbering.
fn swap(events: &mut [AuditRecord], a: usize, b: usize) {
    events.swap(a, b);
    let sequence = events[a].sequence;
    events[a].sequence = events[b].sequence;
    events[b].sequence = sequence;
}

/// Over a log of 1,000 events, each single edit, deletion, swap and cut is seen at its position.
#[test]
fn every_single_change_to_a_log_of_a_thousand_events_is_seen_at_its_position() {
    let good = chain(1_000);
    let head = head_of(&good);
    assert_eq!(walk(&good, head), Ok(()));
    // Up to the event before, each changed log is the good one, whose walk is the same each time.
    let walk_from = |index: usize, rest: &[AuditRecord]| {
        let mut walk = ChainWalk { recorded_head: head, at: head_of(&good[..index]) };
        rest.iter().try_for_each(|event| walk.step(event))?;
        walk.finish()
    };
    for (index, sequence) in (1..=1_000_u64).enumerate() {
        let mut edited = good[index..].to_vec();
        edited[0].body.push(' ');
        assert_eq!(walk_from(index, &edited), Err(ChainFault::Edited { sequence }));

        let fault = walk_from(index, &good[index + 1..]).unwrap_err();
        assert_eq!(fault.sequence(), sequence, "{fault}");

        assert_eq!(walk_from(index, &[]), Err(ChainFault::Cut { first_missing: sequence, head: 1_000 }));
    }
    for index in 0..999 {
        let sequence = good[index].sequence;
        let mut swapped = good[index..].to_vec();
        swap(&mut swapped, 0, 1);
        assert_eq!(walk_from(index, &swapped), Err(ChainFault::Moved { sequence, origin: sequence + 1 }));
    }
}

#[test]
fn a_deletion_with_the_later_events_renumbered_is_seen() {
    let good = chain(9);
    let mut events = good.clone();
    events.remove(4);
    events[4..].iter_mut().for_each(|event| event.sequence -= 1);
    assert_eq!(walk(&events, head_of(&good)), Err(ChainFault::Moved { sequence: 5, origin: 6 }));
}

#[test]
fn an_edit_with_its_own_hash_made_anew_breaks_the_next_link() {
    let mut events = chain(9);
    let head = head_of(&events);
    let before = events[3].head();
    events[4] = before.next(events[4].time, events[4].kind.clone(), "{}".to_owned());
    assert_eq!(walk(&events, head), Err(ChainFault::Unlinked { sequence: 6 }));
}

#[test]
fn a_last_event_made_anew_differs_from_the_head_and_one_put_in_lies_beyond_it() {
    let good = chain(4);
    let mut events = good.clone();
    events[3] = events[2].head().next(events[3].time, "other".to_owned(), "{}".to_owned());
    assert_eq!(walk(&events, head_of(&good)), Err(ChainFault::HeadDiffers { sequence: 4 }));

    let mut events = good.clone();
    events.push(head_of(&good).next(good[3].time, "other".to_owned(), "{}".to_owned()));
    assert_eq!(walk(&events, head_of(&good)), Err(ChainFault::BeyondHead { sequence: 5, head: 4 }));
}

#[test]
fn a_log_without_events_is_whole_and_one_emptied_is_not() {
    assert_eq!(walk(&[], ChainHead::EMPTY), Ok(()));
    assert_eq!(walk(&[], head_of(&chain(3))), Err(ChainFault::Cut { first_missing: 1, head: 3 }));
}

#[test]
fn a_forged_head_far_away_does_not_make_the_walk_endless() {
    let mut events = chain(2);
    events[0].body.push('x');
    let head = ChainHead { sequence: u64::MAX, hash: GENESIS };
    assert_eq!(walk(&events, head), Err(ChainFault::Edited { sequence: 1 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A byte moved from one part to its neighbour gives another hash: the lengths are in it.
    #[test]
    fn parts_do_not_run_into_each_other(kind in "[a-z_]{1,12}", body in "[a-z{}]{1,12}") {
        let time = Timestamp::from_unix_seconds(1);
        let moved = format!("{kind}{}", &body[..1]);
        prop_assert_ne!(link(&GENESIS, 1, time, &kind, &body), link(&GENESIS, 1, time, &moved, &body[1..]));
    }

    /// Any change to any stored field of any event is seen, and a chain that nobody touched is whole.
    #[test]
    fn any_field_of_any_event_is_covered(length in 1_u64..24, pick in any::<prop::sample::Index>(), field in 0_u8..6, bit in 0_usize..256) {
        let good = chain(length);
        let head = head_of(&good);
        prop_assert!(walk(&good, head).is_ok());
        let mut events = good.clone();
        let event = &mut events[pick.index(good.len())];
        match field {
            0 => event.sequence ^= 1 << (bit % 20),
            1 => event.time = Timestamp::from_unix_seconds(event.time.unix_seconds() ^ (1 << (bit % 30))),
            2 => event.kind.insert(bit % event.kind.len(), 'x'),
            3 => event.body.insert(bit % event.body.len(), 'x'),
            4 => event.previous[bit / 8] ^= 1 << (bit % 8),
            _ => event.hash[bit / 8] ^= 1 << (bit % 8),
        }
        prop_assert!(walk(&events, head).is_err());
    }
}
