use std::time::SystemTime;

use runtime::clock::TestClock;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn source(max_stale: Duration, cadence: Cadence) -> (Arc<TestClock>, Arc<KeySource>) {
    let clock = TestClock::at(SystemTime::UNIX_EPOCH + secs(1_795_172_400));
    let source = KeySource::new("https://issuer.example".to_owned(), max_stale, cadence, clock.clone());
    (clock, Arc::new(source))
}

fn keys() -> JsonWebKeys {
    JsonWebKeys::parse(b"{\"keys\":[]}").unwrap()
}

fn look(source: &KeySource, outcome: Result<Option<JsonWebKeys>, String>) {
    source.begin();
    source.end(outcome);
}

fn down() -> Result<Option<JsonWebKeys>, String> {
    Err("connection refused".to_owned())
}

#[test]
fn a_server_is_looked_at_seldom_and_several_times_within_the_time_that_old_keys_count() {
    let refresh = |max_stale| Cadence::of_server(max_stale).refresh;
    assert_eq!(
        (refresh(HOUR), refresh(24 * HOUR), refresh(secs(60)), refresh(secs(2))),
        (secs(300), secs(300), secs(15), secs(1))
    );
    assert_eq!(Cadence::of_server(secs(2)).ask, ASK_INTERVAL);
}

#[test]
fn looks_come_on_schedule_on_demand_at_most_each_thirty_seconds_and_sooner_after_a_failure() {
    let (clock, source) = source(HOUR, Cadence::of_server(HOUR));
    assert!(source.is_due(false), "the first");
    look(&source, Ok(Some(keys())));
    assert!(!source.is_due(false) && !source.is_due(true));
    clock.advance(secs(29));
    assert!(!source.is_due(true), "asked too soon after the last");
    clock.advance(secs(1));
    assert!(source.is_due(true) && !source.is_due(false));
    clock.advance(secs(270));
    assert!(source.is_due(false), "on schedule");

    let mut waits = Vec::new();
    for _ in 0..7 {
        look(&source, down());
        waits.push((1..).find(|_| {
            clock.advance(secs(1));
            source.is_due(false)
        }));
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30].map(Some));
    // A wall clock that is set moves nothing.
    look(&source, Ok(None));
    clock.set_wall(SystemTime::UNIX_EPOCH + secs(9_000_000_000));
    assert!(!source.is_due(true));
}

#[tokio::test(start_paused = true)]
async fn the_last_good_keys_count_for_max_stale_and_then_nothing_does() {
    let (clock, source) = source(HOUR, Cadence::of_server(HOUR));
    look(&source, Ok(Some(keys())));
    assert!(source.keys().await.is_ok() && source.warning().is_none());
    look(&source, down());
    clock.advance(HOUR);
    assert!(source.keys().await.is_ok());
    assert!(source.warning().unwrap().contains("count 0s more: connection refused"));
    clock.advance(secs(1));
    let unavailable = source.keys().await.unwrap_err();
    assert!(unavailable.cause.contains("connection refused"), "{unavailable}");
    assert!(source.warning().unwrap().contains("are not taken"));
    // Unchanged is as good as new.
    look(&source, Ok(None));
    assert!(source.keys().await.is_ok() && source.warning().is_none());
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_before_the_first_look_waits_for_it_and_not_for_ever() {
    let (_clock, source) = source(HOUR, Cadence::of_server(HOUR));
    assert!(source.keys().await.unwrap_err().cause.contains("too long"));
    let (waited, ()) = tokio::join!(source.keys(), async { look(&source, Ok(Some(keys()))) });
    assert!(waited.is_ok());
}

#[tokio::test(start_paused = true)]
async fn all_who_ask_for_an_unknown_key_share_one_look_and_the_next_waits_thirty_seconds() {
    let (clock, source) = source(HOUR, Cadence::of_server(HOUR));
    look(&source, Ok(Some(keys())));
    assert!(matches!(source.newer_keys().await, Ok(None)), "looked just now");
    clock.advance(secs(30));
    let looks = async {
        let mut looks = 0;
        while tokio::time::timeout(secs(3), source.asked()).await.is_ok() {
            if source.is_due(true) {
                looks += 1;
                source.begin();
                // More come while it goes on.
                tokio::time::sleep(secs(1)).await;
                source.end(Ok(Some(keys())));
            }
        }
        looks
    };
    let late = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        source.newer_keys().await
    };
    let (first, second, late, looks) = tokio::join!(source.newer_keys(), source.newer_keys(), late, looks);
    for outcome in [first, second, late] {
        assert!(outcome.unwrap().is_some());
    }
    assert_eq!(looks, 1);
    assert!(matches!(source.newer_keys().await, Ok(None)));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_could_not_be_looked_up_is_not_called_unknown() {
    let (clock, source) = source(HOUR, Cadence::of_server(HOUR));
    look(&source, Ok(Some(keys())));
    look(&source, down());
    assert!(source.newer_keys().await.is_err(), "the last look failed");
    clock.advance(secs(30));
    let (asked, ()) = tokio::join!(source.newer_keys(), async {
        source.asked().await;
        look(&source, down());
    });
    assert!(asked.is_err());
    clock.advance(secs(30));
    assert!(source.newer_keys().await.is_err(), "nobody looks");
}
