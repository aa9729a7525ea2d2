//! Secrets from files, asked for by processes of two users.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pki::{Certificate, certificates_to_pem};
use serde_json::Value;
use tests::{Agent, AgentOptions, Ca, CaOptions, Process, Requirement, TestBed, attested_connection, eventually, issue, needs};

/// Who owns the key, and somebody else.
const OWNER: u32 = 10_011;
const OTHER: u32 = 10_012;

struct Files {
    bed: TestBed,
    ca: Ca,
    agent: Agent,
    directory: PathBuf,
    program: PathBuf,
}

impl Files {
    async fn start(links: &str) -> Self {
        let bed = TestBed::new();
        let ca = Ca::start(&bed, CaOptions::default()).await;
        let directory = bed.path().join("certs");
        std::fs::create_dir(&directory).unwrap();
        let extra = format!("[sds]\nfile_directories = [\"{}\"]\nfile_links = \"{links}\"\n", directory.display());
        let options = AgentOptions { extra, ..AgentOptions::default() };
        let agent = Agent::launch(&bed, &ca, "node-1", &ca.create_token("node-1"), options).await;
        agent.ready().await;
        let program = bed.path().join("sds-fetch");
        // By a process of its own: a fork of this one at the wrong moment would keep the copy open for writing.
        let installed = Command::new("install").args(["-m", "755", env!("CARGO_BIN_EXE_sds-fetch")]).arg(&program).status();
        assert!(installed.unwrap().success());
        Self { bed, ca, agent, directory, program }
    }

    /// A new certificate and key, the key for its owner alone.
    async fn write_pair(&self, directory: &Path, name: &str) -> Certificate {
        let (connection, _node) = attested_connection(&self.ca, name).await;
        let entry = self.ca.create_entry(&format!("spiffe://example.org/{name}"), &["unix:uid:4294967295"], name);
        let svid = issue(&connection, &[&entry]).await.unwrap().remove(0);
        let files = [
            ("tls.crt", certificates_to_pem(svid.chain()).into_bytes(), 0o644),
            ("tls.key", svid.key().to_pkcs8_pem().as_bytes().to_vec(), 0o600),
        ];
        for (name, content, mode) in files {
            let path = directory.join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            chown(&path, Some(OWNER), Some(OWNER)).unwrap();
        }
        svid.leaf().clone()
    }

    fn pair_name(&self) -> String {
        format!("file-cert:{0}/tls.crt~{0}/tls.key", self.directory.display())
    }

    /// A process of this user that asks for names until it is dropped.
    fn caller(&self, uid: u32, label: &str, names: &[&str]) -> Process {
        let mut command = Command::new(&self.program);
        command.arg(self.agent.api_socket()).arg("600").args(names).uid(uid).gid(uid);
        Process::start(&format!("caller-{label}"), &mut command, self.bed.path())
    }
}

/// What a process got so far.
fn secrets(caller: &Process) -> Vec<Value> {
    let answers = caller.stdout();
    let answers = answers.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    answers.flat_map(|answer| answer["secrets"].as_array().unwrap().clone()).collect()
}

/// The owner of a key gets it; another user asks for the same name and gets nothing, and gets the root that everybody may read.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_user_asks_for_the_first_ones_key_and_gets_nothing() {
    if !needs("a_second_user_asks_for_the_first_ones_key_and_gets_nothing", Requirement::Root) {
        return;
    }
    let files = Files::start("forbid").await;
    let leaf = files.write_pair(&files.directory, "one").await;
    let root = format!("file-root:{}", files.directory.join("tls.crt").display());
    let (pair, outside) = (files.pair_name(), format!("file-root:{}", files.ca.root_certificate().display()));
    let names = [pair.as_str(), &root, &outside];
    let owner = files.caller(OWNER, "owner", &names);
    let other = files.caller(OTHER, "other", &names);
    let has = |caller: &Process, name: &str| secrets(caller).iter().any(|secret| secret["name"] == name);
    eventually("what is theirs", async || (has(&owner, &pair) && has(&owner, &root) && has(&other, &root)).then_some(())).await;
    let refused = "signet_sds_unanswered_names_total{reason=\"file_refused\"}";
    // The key for one, the file outside for both.
    eventually("the rest to be judged", async || (files.agent.metric(refused).await == Some(3.0)).then_some(())).await;
    let (owned, foreign) = (secrets(&owner), secrets(&other));
    let serial = leaf.serial().to_string();
    assert!(owned.iter().any(|secret| secret["name"] == pair.as_str() && secret["serial"] == serial.as_str()), "{owned:?}");
    assert!(foreign.iter().all(|secret| secret["has_key"] == false && secret["name"] != pair.as_str()), "{foreign:?}");
    for got in [&owned, &foreign] {
        assert!(got.iter().any(|secret| secret["name"] == root.as_str() && secret["validates"] == true), "{got:?}");
        assert!(got.iter().all(|secret| secret["name"] != outside.as_str()), "outside of the directories: {got:?}");
    }
    assert!(files.agent.process.stderr().contains("could not read"), "the log says why");
    assert!(!files.agent.process.stderr().contains("PRIVATE KEY"));
}

/// A mounted secret is exchanged as Kubernetes does it, by renaming `..data`: the new pair is pushed; half a pair is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_set_is_pushed_and_half_a_pair_is_not() {
    if !needs("a_swapped_set_is_pushed_and_half_a_pair_is_not", Requirement::Root) {
        return;
    }
    let files = Files::start("data").await;
    let version = |number: u32| {
        let path = files.directory.join(format!("..{number}"));
        std::fs::create_dir(&path).unwrap();
        path
    };
    let swap = |target: &str| {
        let new = files.directory.join("..data_tmp");
        symlink(target, &new).unwrap();
        std::fs::rename(new, files.directory.join("..data")).unwrap();
    };
    let first = files.write_pair(&version(1), "one").await;
    swap("..1");
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), files.directory.join(name)).unwrap();
    }
    let pair = files.pair_name();
    let caller = files.caller(OWNER, "owner", &[&pair]);
    let serials = || secrets(&caller).iter().map(|secret| secret["serial"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    eventually("the first pair", async || (serials() == [first.serial().to_string()]).then_some(())).await;
    // A certificate without its key: told, and what was served stays.
    let third = version(3);
    let broken = files.write_pair(&third, "three").await;
    std::fs::copy(files.directory.join("..1/tls.key"), third.join("tls.key")).unwrap();
    swap("..3");
    let unfit = "signet_agent_alarms_total{kind=\"file_unfit\"}";
    eventually("the alarm", async || (files.agent.metric(unfit).await == Some(1.0)).then_some(())).await;
    let second = files.write_pair(&version(2), "two").await;
    swap("..2");
    eventually("the second pair", async || (serials().len() == 2).then_some(())).await;
    assert_eq!(serials(), [first.serial().to_string(), second.serial().to_string()]);
    assert!(!serials().contains(&broken.serial().to_string()));
}

/// Off, which is the default, the same name is the name of nothing.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_not_given_unless_directories_are_configured() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    let agent = Agent::start(&bed, &ca, "node-1").await;
    let mut client = tests::SdsClient::connect(&agent.api_socket()).await.unwrap();
    let name = format!("file-root:{}", ca.root_certificate().display());
    let mut stream = client.subscribe(&[name]).await.unwrap();
    let silence = tokio::time::timeout(Duration::from_secs(2), stream.next()).await;
    assert!(silence.is_err(), "{silence:?}");
}
