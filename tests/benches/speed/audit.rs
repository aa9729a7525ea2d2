//! `audit verify` over a log of a million events: how long it takes, and what it holds meanwhile.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ca::audit::ChainHead;
use pki::Timestamp;
use runtime::clock::SystemClock;
use tests::{Ca, CaOptions, TestBed, attested_connection, issue, signet_binary};

use crate::cpu;
use crate::figures::{Figures, milliseconds};
use crate::footprint::mebibytes;

const EVENTS: u64 = 1_000_000;
/// How often the memory of the verifier is looked at.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) async fn measure(figures: &mut Figures) {
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions { log_level: "info".to_owned(), ..CaOptions::default() }).await;
    let (connection, _) = attested_connection(&ca, "node-1").await;
    let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:0"], "node-1");
    issue(&connection, &[&entry]).await.unwrap();
    let (socket, store) = (ca.admin_socket(), ca.state_dir().join("store.db"));
    ca.process.stop().await;
    lengthen(&store);
    verify(figures, "`audit verify --store`", &["--store".as_ref(), store.as_os_str()]);
    ca.start_again().await;
    verify(figures, "`audit verify`, asking the CA", &["--socket".as_ref(), socket.as_os_str()]);
    let peak = cpu::peak_resident(ca.process.id()).unwrap();
    figures.row("the CA itself, which walked them for its next checkpoint too", &mebibytes(peak), "resident at the most");
}

/// Goes on with the chain as if certificates had been issued until there are so many events: the last intent to sign one, again and
/// again.
fn lengthen(store: &Path) {
    let mut store = rusqlite::Connection::open(store).unwrap();
    let all = store.transaction().unwrap();
    let (sequence, hash) =
        all.query_row("SELECT sequence, hash FROM audit_head", [], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?))).unwrap();
    let mut head = ChainHead { sequence: sequence.unsigned_abs(), hash };
    let (time, kind, body): (i64, String, String) = all
        .query_row(
            "SELECT time, kind, body FROM audit WHERE kind = 'certificate_intended' ORDER BY sequence DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    let mut add =
        all.prepare("INSERT INTO audit (sequence, time, kind, body, previous, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)").unwrap();
    while head.sequence < EVENTS {
        let event = head.next(Timestamp::from_unix_seconds(time.unsigned_abs()), kind.clone(), body.clone());
        add.execute((event.sequence.cast_signed(), time, &event.kind, &event.body, event.previous, event.hash)).unwrap();
        head = event.head();
    }
    drop(add);
    all.execute("UPDATE audit_head SET sequence = ?1, hash = ?2", (head.sequence.cast_signed(), head.hash)).unwrap();
    all.commit().unwrap();
}

/// Runs it as an operator would.
fn verify(figures: &mut Figures, what: &str, arguments: &[&OsStr]) {
    let clock = SystemClock::shared();
    let mut command = Command::new(signet_binary());
    command.args(["audit", "verify", "-o", "json"]).args(arguments).stdout(Stdio::piped());
    let begin = clock.boottime();
    let mut child = command.spawn().unwrap();
    let (mut peak, mut processor) = (0, Duration::ZERO);
    while child.try_wait().unwrap().is_none() {
        peak = cpu::peak_resident(child.id()).unwrap_or_default().max(peak);
        processor = cpu::of_process(child.id()).max(processor);
        std::thread::sleep(LOOK);
    }
    let took = clock.boottime() - begin;
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["events"].as_u64().unwrap() >= EVENTS, "{report}");
    let beside = format!(
        "{} events; {} of its processor time; {} resident at the most",
        report["events"],
        milliseconds(processor),
        mebibytes(peak)
    );
    figures.row(what, &milliseconds(took), &beside);
}
