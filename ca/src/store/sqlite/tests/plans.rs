//! How SQLite finds its way to what is counted often.

use rusqlite::Connection;

use super::*;
use crate::store::AuthorityStore;
use crate::store::sql::leaves::{COUNT, FIRST_WORKLOAD_END, OUTSTANDING};

const OLD: Sha256Digest = [0x01; 32];
const NEW: Sha256Digest = [0x02; 32];

fn plan_of(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Vec<String> {
    let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    explained.query_map(parameters, |row| row.get("detail")).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_hundred_thousand_leaves_are_counted_along_one_range_of_an_index() {
    let fixture = Fixture::new().unwrap();
    let mut connection = Connection::open(fixture.path()).unwrap();
    let plan = plan_of(&connection, OUTSTANDING, (&OLD[..], 5, "[]"));
    assert!(plan.iter().any(|step| step == "SEARCH leaves USING PRIMARY KEY (issuer_key=? AND not_after>?)"), "{plan:?}");
    assert!(!plan.iter().any(|step| step.starts_with("SCAN leaves")), "{plan:?}");
    let plan = plan_of(&connection, FIRST_WORKLOAD_END, (&OLD[..], 5));
    assert!(plan.iter().all(|step| !step.contains("SCAN leaves") && !step.contains("TEMP B-TREE")), "{plan:?}");
    let plan = plan_of(&connection, COUNT, (&OLD[..], 5));
    assert!(plan.iter().any(|step| step == "SEARCH leaves USING PRIMARY KEY (issuer_key=? AND not_after>?)"), "{plan:?}");
    assert!(plan.iter().any(|step| step == "SEARCH holders USING PRIMARY KEY (holder=?)"), "{plan:?}");
    assert!(!plan.iter().any(|step| step.contains("SCAN") && !step.contains("SUBQUERY")), "{plan:?}");

    // Each holder has three of the old CA, one of them ended, and every tenth has one of the new CA.
    let transaction = connection.transaction().unwrap();
    {
        let mut leaf = transaction.prepare("INSERT INTO leaves VALUES (?1, ?2, ?3, ?4, NULL)").unwrap();
        let mut newest = transaction.prepare("INSERT OR REPLACE INTO holders VALUES (?1, ?2)").unwrap();
        let end = |seconds: u64| 1_700_000_000 + i64::try_from(seconds).unwrap();
        for holder in 0..50_000_i64 {
            let name = &sha256(&holder.to_be_bytes())[..16];
            for (turn, ends) in [(0, 5), (1, 50), (2, 60)] {
                leaf.execute((&OLD[..], end(ends), holder + turn * 50_000, name)).unwrap();
            }
            let renewed = holder % 10 == 0;
            newest.execute((name, if renewed { holder + 150_000 } else { holder + 100_000 })).unwrap();
            if renewed {
                leaf.execute((&NEW[..], end(70), holder + 150_000, name)).unwrap();
            }
        }
    }
    transaction.commit().unwrap();
    let leaves = fixture.store.leaves(vec![OLD, NEW], at(10)).await.unwrap();
    let counts = [OLD, NEW].map(|key| (leaves[&key].held, leaves[&key].unexpired));
    assert_eq!(counts, [(45_000, 100_000), (5_000, 5_000)]);
}
