//! Disks that are full, read-only, broken or slow: nothing is signed that is not recorded, what needs no write goes on, the CA says what
//! is wrong and what to do, and goes on by itself when it is over.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use proto::v1;
use tests::{
    Ca, CaConnection, CaOptions, Cli, Requirement, Strace, TestBed, attested_connection, eventually, eventually_within, hello,
    http_get, issue, needs,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

/// The calls that a disk answers when it is asked to keep something.
const SYNCS: &str = "fsync,fdatasync";
const LIMIT: Duration = Duration::from_secs(60);

/// A CA with two agents that have open sync streams or open them, and all certificates that the first was given.
struct Ground {
    bed: TestBed,
    ca: Ca,
    connection: CaConnection,
    entry: String,
    held: BTreeSet<String>,
    stream: SyncStream,
    /// Of the second, which has an entry too: a node has one stream, and a new one would end that of the first.
    other: CaConnection,
}

type Outcome = Result<(), Status>;

impl Ground {
    /// `None` where the machine lacks what it takes; `words` run the CA, see [`Ca::run_under`].
    async fn new(test: &str, script: Option<&str>) -> Option<Self> {
        if !(needs(test, Requirement::Strace) && needs(test, Requirement::Root)) {
            return None;
        }
        let bed = TestBed::new();
        let config = Ca::configure(&bed, "ca", "127.0.0.1:0", &CaOptions::default());
        let _made = Cli::run(&["ca".as_ref(), "init".as_ref(), "--config".as_ref(), config.as_os_str()]).ok();
        let state = bed.path().join("ca-state").display().to_string();
        let words = script.map(|script| ["unshare", "--mount", "sh", "-euc", script, &state].map(str::to_owned));
        let ca = Ca::run_under(words.as_ref().map_or(&[], |words| &words[..]), bed.path(), "ca", "example.org").await;
        let (connection, attested) = attested_connection(&ca, "node-1").await;
        let entry = ca.create_entry("spiffe://example.org/web", &["unix:uid:0"], "node-1");
        let held = BTreeSet::from([attested.svid.leaf().serial().to_string()]);
        let stream = SyncStream::open(&connection).await;
        let (other, _attested) = attested_connection(&ca, "node-2").await;
        let _entry = ca.create_entry("spiffe://example.org/other", &["unix:uid:0"], "node-2");
        let mut ground = Self { bed, ca, connection, entry, held, stream, other };
        ground.issue().await.expect("the ground is firm");
        ground.ca.ready().await;
        Some(ground)
    }

    async fn issue(&mut self) -> Outcome {
        let svids = issue(&self.connection, &[&self.entry]).await?;
        self.held.extend(svids.iter().map(|svid| svid.leaf().serial().to_string()));
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.ca.state_dir().join("store.db-wal")
    }

    async fn inject(&self, calls: &str, fault: &str) -> Strace {
        Strace::inject(self.bed.path(), self.ca.process.id(), &self.log(), calls, fault).await
    }

    /// How many certificates the CA says that it signed.
    async fn signed(&self) -> f64 {
        let text = self.ca.metrics().await;
        let counts =
            text.lines().filter(|line| line.starts_with("signet_ca_issuance_total{") && line.contains("outcome=\"issued\""));
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Asks until the store refuses; then nothing more is signed, what needs no write goes on, and everybody is told what is wrong.
    async fn refuses(&mut self, what: &str) {
        let deadline = "the CA to refuse with advice on when to try again";
        let refused = eventually_within(deadline, LIMIT, async || {
            self.issue().await.err().filter(|status| status.get_details_retry_info().is_some())
        })
        .await;
        assert_eq!(refused.code(), Code::Unavailable);
        assert_eq!(refused.get_details_error_info().unwrap().reason, "STORE_UNAVAILABLE");
        assert!(!refused.message().contains("store.db"), "what the system says is for the operator: {}", refused.message());

        let signed = self.signed().await;
        for _ in 0..5 {
            self.issue().await.expect_err("the store still refuses");
        }
        assert_eq!(self.signed().await, signed, "nothing is signed that cannot be recorded");
        let entry = ["entry", "create", "--spiffe-id", "spiffe://example.org/x", "--node", "node-1", "--selector", "unix:uid:1"];
        assert_ne!(self.ca.operate(&entry).code, 0, "what cannot be recorded does not happen");

        self.tells(what).await;
        assert!(self.ca.metrics().await.contains("signet_ca_store_writable 0"));
        self.serves_bundles().await;
    }

    /// Readiness and status name the fault, say what it means and what to do.
    async fn tells(&self, what: &str) {
        let ready = eventually_within("readiness to name the fault", LIMIT, async || {
            let answer = http_get(self.ca.telemetry(), "/readyz").await;
            (answer.status == 503 && answer.body.contains(what)).then_some(answer.body)
        })
        .await;
        let status = self.ca.operate(&["status"]).ok().stdout;
        for text in [&ready, &status] {
            for part in ["store: ", what, "by themselves", "nothing is signed"] {
                assert!(text.contains(part), "{part:?} is not in {text}");
            }
        }
    }

    /// A new sync stream gets everything; reads of operators are answered.
    async fn serves_bundles(&self) {
        let update = SyncStream::open(&self.other).await.next().await;
        assert!(!update.bundle.expect("the first update has the bundle").x509_authorities.is_empty());
        assert_eq!(update.upserted.len(), 1);
        assert!(self.ca.operate(&["audit", "verify"]).ok().stdout.contains("events"));
        assert!(self.ca.operate(&["entry", "list"]).ok().stdout.contains(&self.entry));
    }

    /// The store takes writes again, and the CA says so.
    async fn is_well(&mut self) {
        eventually_within("the store to take writes again", LIMIT, async || self.issue().await.ok()).await;
        self.ca.ready().await;
    }

    /// It does, in the same process, and the stream that was open all the time goes on.
    async fn goes_on(&mut self) {
        self.is_well().await;
        assert!(self.ca.process.is_running());
        assert!(self.ca.metrics().await.contains("signet_ca_store_writable 1"));
        let new = self.ca.create_entry("spiffe://example.org/late", &["unix:uid:2"], "node-1");
        while !self.stream.next().await.upserted.iter().any(|entry| entry.id == new) {}
        self.nothing_is_lost();
    }

    fn nothing_is_lost(&self) {
        let ledger: BTreeSet<_> = self.ca.recorded_serials().into_iter().collect();
        let lost: Vec<_> = self.held.difference(&ledger).collect();
        assert!(lost.is_empty(), "not in the ledger: {lost:?}");
        assert!(self.ca.operate(&["audit", "verify"]).ok().stdout.contains("events"));
    }

    /// What was answered is there after a crash, too.
    async fn survives_a_crash(&mut self) {
        self.ca.kill_hard().await;
        self.ca.start_again().await;
        self.nothing_is_lost();
    }

    /// Runs a command where the CA sees it.
    fn in_its_mounts(&self, arguments: &[&str]) {
        let mut command = Command::new("nsenter");
        let pid = self.ca.process.id().to_string();
        let status = command.args(["--mount", "--target", &pid]).args(arguments).status().unwrap();
        assert!(status.success(), "{arguments:?}: {status}");
    }
}

/// A sync stream as an agent has it.
struct SyncStream {
    requests: mpsc::UnboundedSender<v1::SyncRequest>,
    updates: Streaming<v1::SyncResponse>,
}

impl SyncStream {
    async fn open(connection: &CaConnection) -> Self {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let message = Some(v1::sync_request::Message::Hello(hello()));
        requests.send(v1::SyncRequest { message }).unwrap();
        let updates = connection.node().sync(UnboundedReceiverStream::new(outgoing)).await.unwrap().into_inner();
        Self { requests, updates }
    }

    /// The next update, acknowledged.
    async fn next(&mut self) -> v1::SyncUpdate {
        let next = async {
            loop {
                let message = self.updates.message().await.expect("the stream goes on").expect("the stream goes on").message;
                if let Some(v1::sync_response::Message::Update(update)) = message {
                    return update;
                }
            }
        };
        let update = tokio::time::timeout(LIMIT, next).await.expect("an update comes");
        let ack = v1::sync_request::Ack { sequence: update.sequence, bundle_sequence: 1 };
        self.requests.send(v1::SyncRequest { message: Some(v1::sync_request::Message::Ack(ack)) }).unwrap();
        update
    }
}

/// A file system of 8 MiB of its own, with what `ca init` made.
const SMALL_FILE_SYSTEM: &str =
    "cp -a \"$0\" \"$0.made\"; mount -t tmpfs -o size=8m,mode=700 none \"$0\"; cp -a \"$0.made/.\" \"$0\"; exec \"$@\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_issuance_alone_and_room_on_it_brings_it_back() {
    let name = "a_full_disk_stops_issuance_alone_and_room_on_it_brings_it_back";
    let Some(mut ground) = Ground::new(name, Some(SMALL_FILE_SYSTEM)).await else { return };
    let inside = PathBuf::from(format!("/proc/{}/root", ground.ca.process.id()));
    let filler = inside.join(ground.ca.state_dir().strip_prefix("/").unwrap()).join("filler");
    for _ in 0..2 {
        let mut file = std::fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        ground.refuses("the file system of the store is full").await;
        std::fs::remove_file(&filler).unwrap();
        drop(file);
        ground.is_well().await;
    }
    ground.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_writes_stops_issuance_and_the_store_goes_on_after_it() {
    let name = "a_disk_that_fails_writes_stops_issuance_and_the_store_goes_on_after_it";
    let Some(mut ground) = Ground::new(name, None).await else { return };
    let fault = ground.inject("pwrite64", "error=EIO").await;
    ground.refuses("the disk of the store fails").await;
    assert!(fault.faults() > 0);
    fault.detach().await;
    ground.goes_on().await;
    ground.survives_a_crash().await;
}

/// After a failed sync the page cache is not to be believed: the log is written again and synced before the store goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_is_never_tried_again_over_pages_that_the_kernel_may_have_dropped() {
    let name = "a_failed_sync_is_never_tried_again_over_pages_that_the_kernel_may_have_dropped";
    let Some(mut ground) = Ground::new(name, None).await else { return };
    let fault = ground.inject(SYNCS, "error=EIO").await;
    ground.refuses("the disk did not confirm a sync of the store").await;
    assert!(fault.faults() > 0);
    fault.detach().await;
    ground.goes_on().await;
    ground.survives_a_crash().await;
    // A sync that fails once is told by a counter, though nobody had to wait.
    (ground.connection, _) = attested_connection(&ground.ca, "node-1").await;
    let once = ground.inject(SYNCS, "error=EIO:when=1").await;
    // It may be that of what is recorded after an answer, for which nobody waits.
    eventually_within("a sync to fail", LIMIT, async || {
        drop(ground.issue().await);
        (once.faults() > 0).then_some(())
    })
    .await;
    ground.is_well().await;
    let asked = once.lines();
    once.detach().await;
    let failed = asked.iter().position(|line| line.contains("(INJECTED)")).unwrap();
    let next_sync = failed + 1 + asked[failed + 1..].iter().position(|line| line.contains("sync(")).unwrap();
    // One write from the beginning of the log on, of more than a page.
    let again = asked[failed..next_sync].iter().filter_map(|line| line.split_once(", 0) = ")?.1.parse::<u64>().ok());
    assert!(again.max().is_some_and(|bytes| bytes > 50_000), "the log is not written again before the next sync: {asked:#?}");
    assert!(ground.ca.metrics().await.contains("signet_ca_store_faults_total{kind=\"sync\"} 1"));
    ground.survives_a_crash().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_becomes_read_only_stops_issuance_until_it_is_writable() {
    let name = "a_file_system_that_becomes_read_only_stops_issuance_until_it_is_writable";
    let Some(mut ground) = Ground::new(name, Some("exec \"$@\"")).await else { return };
    let state = ground.ca.state_dir().display().to_string();
    ground.in_its_mounts(&["mount", "--bind", &state, &state]);
    ground.in_its_mounts(&["mount", "-o", "remount,bind,ro", &state]);
    // As a kernel does that stops writing after an error of the disk: one sync fails, and then nothing can be opened for writing.
    let fault = ground.inject(SYNCS, "error=EIO:when=1").await;
    ground.refuses("the file system of the store is read-only").await;
    fault.detach().await;
    ground.in_its_mounts(&["mount", "-o", "remount,bind,rw", &state]);
    ground.goes_on().await;
}

/// Five seconds for each sync: answers come late and not early, and what needs no sync does not wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_delays_answers_and_nothing_else_and_is_told() {
    let name = "a_slow_disk_delays_answers_and_nothing_else_and_is_told";
    let Some(mut ground) = Ground::new(name, None).await else { return };
    let fault = ground.inject(SYNCS, "delay_enter=5000000").await;
    let answered = {
        let entry = [ground.entry.as_str()];
        let slow = issue(&ground.connection, &entry);
        let meanwhile = async {
            let ready = eventually_within("readiness to name the slow disk", LIMIT, async || {
                let answer = http_get(ground.ca.telemetry(), "/readyz").await;
                (answer.status == 503 && answer.body.contains("the disk is slow")).then_some(answer.body)
            })
            .await;
            assert!(ready.contains("none is lost"), "{ready}");
            ground.serves_bundles().await;
        };
        let (answered, ()) = tokio::join!(slow, meanwhile);
        answered
    };
    let svids = answered.expect("the answer comes when the sync is over");
    ground.held.extend(svids.iter().map(|svid| svid.leaf().serial().to_string()));
    fault.detach().await;
    ground.goes_on().await;
    ground.survives_a_crash().await;
}

/// The database file fails and its log does not: nobody has to wait, and somebody should look.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_merged_is_warned_of_and_merged_later() {
    let name = "a_log_that_cannot_be_merged_is_warned_of_and_merged_later";
    let Some(mut ground) = Ground::new(name, None).await else { return };
    let database = ground.ca.state_dir().join("store.db");
    let fault = Strace::inject(ground.bed.path(), ground.ca.process.id(), &database, "pwrite64", "error=EIO").await;
    let warning = "the log of the store cannot be merged into its database";
    let entry = ground.entry.clone();
    eventually_within("a warning that the log grows", LIMIT * 2, async || {
        let svids = issue(&ground.connection, &[entry.as_str(); 20]).await.expect("writes are taken");
        ground.held.extend(svids.iter().map(|svid| svid.leaf().serial().to_string()));
        ground.ca.operate(&["status"]).ok().stdout.contains(warning).then_some(())
    })
    .await;
    assert_eq!(http_get(ground.ca.telemetry(), "/readyz").await.status, 200, "a warning leaves it ready");
    ground.issue().await.expect("writes are taken");
    fault.detach().await;
    eventually("the warning to end", async || (!ground.ca.operate(&["status"]).ok().stdout.contains(warning)).then_some(()))
        .await;
    ground.goes_on().await;
    ground.survives_a_crash().await;
}
