//! What a database is refused for.

use runtime::secret_source::SecretSource;

use super::*;
use crate::authority::lifecycle::{AuthorityKind, Lifecycle};
use crate::store::{
    AuthorityStore, EntryFilter, EntryStore, FederationStore, PostgresError, ReplicaStore, StoreHealth, StoreState,
};

fn refusal(config: PostgresConfig) -> PostgresError {
    PostgresStore::open(config, own()).err().expect("it is refused")
}

#[tokio::test]
async fn a_database_that_does_not_keep_what_it_confirms_is_refused_and_a_set_back_one_is_opened() {
    let Some(database) = PostgresServer::database() else { return };
    drop(PostgresStore::open(config(&database), own()).unwrap());
    for value in ["off", "local", "remote_write"] {
        database.sql(&format!("ALTER DATABASE {} SET synchronous_commit = {value}", database.name()));
        let refused = refusal(config(&database));
        assert!(
            matches!(&refused, PostgresError::Setting { setting: "synchronous_commit", found, .. } if found == value),
            "{refused}"
        );
    }
    database.sql(&format!("ALTER DATABASE {} SET synchronous_commit = remote_apply", database.name()));
    drop(PostgresStore::open(config(&database), own()).unwrap());
}

#[tokio::test]
async fn a_server_that_does_not_sync_is_refused() {
    for setting in ["fsync", "full_page_writes"] {
        let Some(server) = PostgresServer::start(&[&format!("{setting} = off")]) else { return };
        let refused = refusal(config(&server.new_database()));
        assert!(matches!(&refused, PostgresError::Setting { setting: found, .. } if *found == setting), "{refused}");
    }
}

#[tokio::test]
async fn a_session_that_comes_back_to_other_settings_takes_no_writes_until_they_are_right() {
    let Some(fixture) = Fixture::new() else { return };
    let alter = |value: &str| {
        fixture.database.sql(&format!("ALTER DATABASE {} SET synchronous_commit = {value}", fixture.database.name()));
    };
    alter("off");
    fixture.store.persist(intent(1)).await.expect("the session has its own");
    assert!(fixture.database.end_sessions() > 0);
    let refused = fixture.store.persist(intent(2)).await.unwrap_err().to_string();
    assert!(refused.contains("synchronous_commit=on (it says off)"), "{refused}");
    alter("on");
    fixture.store.recover().await;
    assert_eq!(*fixture.store.state().borrow(), StoreState::Well);
    fixture.store.persist(intent(2)).await.unwrap();
}

#[tokio::test]
async fn a_schema_of_a_later_build_is_refused_naming_both_versions() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.tamper("INSERT INTO schema_version (version) VALUES (9)");
    let refused = refusal(config(&fixture.database));
    let PostgresError::Newer { found: 9, known, .. } = refused else { panic!("{refused}") };
    assert!(refused.to_string().contains(&format!("schema version 9, this build knows up to {known}")), "{refused}");
    assert!(matches!(super::super::inspect(config(&fixture.database), &own()), Err(PostgresError::Newer { .. })));
}

#[tokio::test]
async fn a_schema_of_an_earlier_build_is_brought_up_to_date_and_keeps_what_it_holds() {
    let Some(database) = PostgresServer::database() else { return };
    database.sql(&format!(
        r#"CREATE SCHEMA signet; SET search_path TO signet; CREATE TABLE schema_version (version BIGINT PRIMARY KEY);
           {} INSERT INTO schema_version (version) VALUES (1);
           INSERT INTO entries (id, spiffe_id, selectors, parent_node, dns_names, hint, created_at, revision)
           VALUES ('{}', 'spiffe://example.org/web', '["unix:uid:1"]', 'n1', '[]', '', 1700000005, 3)"#,
        include_str!("../schema_1.sql"),
        entry_id(1),
    ));
    let store = PostgresStore::open(config(&database), own()).unwrap();
    let [kept]: [_; 1] = store.entries(EntryFilter::All).await.unwrap().try_into().unwrap();
    assert_eq!((kept.id, kept.spec, kept.revision), (entry_id(1), entry("web", "n1", &["unix:uid:1"]), 3));
    assert!(store.federations().await.unwrap().is_empty());
    store.add_federation(federation("other.org"), None, OPERATOR, at(9)).await.unwrap();
}

#[tokio::test]
async fn what_was_stored_before_there_were_replicas_is_that_of_the_first_one() {
    let Some(database) = PostgresServer::database() else { return };
    database.sql(&format!(
        r#"CREATE SCHEMA signet; SET search_path TO signet; CREATE TABLE schema_version (version BIGINT PRIMARY KEY); {} {} {}
           INSERT INTO schema_version (version) VALUES (1), (2), (3);
           INSERT INTO replicas (name, serial_byte, address, seen_at) VALUES ('former', 9, 'a:1', 1700000000);
           INSERT INTO authorities (kind, number, parent, slot, since, key, public_der, not_before, not_after, destroyed) VALUES
           ('root', 1, NULL, 'active', 1700000000, decode(repeat('01', 32), 'hex'), '\x01', 1700000000, 1700009000, 0),
           ('issuer', 1, 1, 'active', 1700000000, decode(repeat('02', 32), 'hex'), '\x02', 1700000000, 1700009000, 0);
           INSERT INTO rotations VALUES
           ('root', 1, 1700000001, 'natural', 0, '[]', 0, 0, 0), ('issuer', 1, 1700000002, 'taint', 0, '["n1"]', 7, 1, 0)"#,
        include_str!("../schema_1.sql"),
        include_str!("../schema_2.sql"),
        include_str!("../schema_3.sql"),
    ));
    let first = PostgresStore::open(config(&database), own()).unwrap();
    assert!(first.replicas().await.unwrap().is_empty(), "each is put on record at its next start");
    first.register(registration("ca-1", 1), None, at(3)).await.unwrap();
    let second = PostgresStore::open(config(&database), ReplicaName::parse("ca-2").unwrap()).unwrap();
    second.register(registration("ca-2", 2), None, at(3)).await.unwrap();
    let (one, two) = (first.lifecycle().await.unwrap(), second.lifecycle().await.unwrap());
    let active = |state: &Lifecycle| state.active(AuthorityKind::Issuer).map(|issuer| issuer.name.to_string());
    assert_eq!((active(&one), active(&two)), (Some("issuer-1".to_owned()), None));
    let owners: Vec<_> = two.others().map(|other| (other.replica.to_string(), other.authority.name.to_string())).collect();
    assert_eq!(owners, [("ca-1".to_owned(), "issuer-1".to_owned())]);
    let kinds = async |store: &PostgresStore| {
        store.rotations().await.unwrap().iter().map(|rotation| rotation.from.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&first).await, [AuthorityKind::Root, AuthorityKind::Issuer]);
    assert_eq!(kinds(&second).await, [AuthorityKind::Root]);
}

#[tokio::test]
async fn looking_at_a_database_makes_nothing_there() {
    let Some(database) = PostgresServer::database() else { return };
    assert!(super::super::inspect(config(&database), &own()).unwrap().authorities().next().is_none());
    assert_eq!(database.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'signet'"), "0");
}

#[tokio::test]
async fn a_password_is_read_for_each_session_and_stands_in_no_error() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    let database = server.new_database();
    database.sql(&format!("CREATE ROLE ca LOGIN PASSWORD 'first-Secret'; ALTER DATABASE {} OWNER TO ca", database.name()));
    std::fs::write(server.data().join("pg_hba.conf"), "local all signet trust\nlocal all ca scram-sha-256\n").unwrap();
    database.sql("SELECT pg_reload_conf()");
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("password");
    let write = |text: &str| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    let with_password =
        PostgresConfig { user: "ca".to_owned(), password: Some(SecretSource::File(file.clone())), ..config(&database) };
    write("wrong-Secret\n");
    let refused = refusal(with_password.clone());
    assert!(matches!(refused, PostgresError::Server { .. }));
    for text in [refused.to_string(), format!("{refused:?}"), format!("{with_password:?}")] {
        assert!(!text.contains("Secret"), "{text}");
    }
    write("first-Secret\n");
    let store = PostgresStore::open(with_password, own()).unwrap();
    store.persist(intent(1)).await.unwrap();
    database.sql("ALTER ROLE ca PASSWORD 'second-Secret'");
    write("second-Secret\n");
    assert!(database.end_sessions() > 0);
    store.persist(intent(2)).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(database.end_sessions() > 0);
    let refused = store.persist(intent(3)).await.unwrap_err().to_string();
    assert!(refused.contains("the password of the database"), "{refused}");
}
