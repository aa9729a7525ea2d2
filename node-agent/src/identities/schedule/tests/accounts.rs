//! What no entry of the CA gives, and what the CA takes back by its answer.

use super::*;

#[test]
fn what_the_rule_of_accounts_gives_is_fetched_when_somebody_asks_and_kept_from_then_on() {
    let ca = Ca::new();
    let by_rule = Arc::new(crate::fakes::held::of_account("shop/web"));
    let mut schedule = schedule([Arc::clone(&by_rule)]);
    for lane in [Lane::Waiting, Lane::Background] {
        assert!(schedule.next_batch(lane, &NOBODY, at(0), boot(0)).is_empty(), "nobody asked");
    }
    assert_eq!(schedule.overdue(at(1000)), Overdue::default());
    let waiting = [by_rule.id.clone()].into();
    let orders = schedule.next_batch(Lane::Waiting, &waiting, at(0), boot(0));
    assert_eq!(ids(&orders), [by_rule.id.as_str()]);
    schedule.issued(&orders[0], ca.svid(&orders[0], 0), at(0), boot(0), 128);
    assert!(schedule.next_batch(Lane::Background, &NOBODY, at(10), boot(10)).is_empty());
    assert_eq!(ids(&schedule.next_batch(Lane::Background, &NOBODY, at(60), boot(60))), [by_rule.id.as_str()]);
}

#[test]
fn an_identity_that_the_ca_calls_revoked_is_taken_away_and_asked_for_again() {
    let ca = Ca::new();
    let mut schedule = schedule([entry(1)]);
    ca.issue_all(&mut schedule, 0);
    let orders = schedule.next_batch(Lane::Background, &NOBODY, at(60), boot(60));
    schedule.revoked(&orders[0], "an operator said so");
    schedule.failed(&orders[0], "an operator said so".to_owned(), None, boot(60), 128);
    assert_eq!(states(&schedule), ["unavailable"]);
    assert!(schedule.next_batch(Lane::Background, &NOBODY, at(60), boot(60)).is_empty(), "not at once");
    assert_eq!(schedule.next_batch(Lane::Background, &NOBODY, at(300), boot(300)).len(), 1);
}
