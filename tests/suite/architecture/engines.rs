//! What every engine of the store must pass is listed once for each engine: none may leave one out.

use std::collections::BTreeSet;

use super::root;

#[test]
fn every_engine_of_the_store_runs_every_test_that_they_share() {
    let store = root().join("ca/src/store");
    let shared = std::fs::read_dir(store.join("sql/tests")).unwrap();
    let shared = shared.map(|file| file.unwrap().file_name().into_string().unwrap());
    // What they are made of is no test.
    let shared: BTreeSet<_> = shared.filter(|name| name != "support.rs").collect();
    assert!(shared.len() > 10, "{shared:?}");
    for engine in ["sqlite", "postgres"] {
        let list = std::fs::read_to_string(store.join(engine).join("tests/mod.rs")).unwrap();
        let named = list.lines().filter_map(|line| line.strip_prefix("#[path = \"../../sql/tests/")?.strip_suffix("\"]"));
        assert_eq!(named.map(str::to_owned).collect::<BTreeSet<_>>(), shared, "{engine} runs others than there are");
    }
}
