//! A CA is backed up while it runs, goes on, is lost, and comes back elsewhere from the backup.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::{Agent, Ca, CaOptions, Cli, CliOutput, SdsClient, TestBed, eventually};

/// A checkpoint each second, so that agents soon keep one that is newer than the backup.
const CHECKPOINTS: &str = "[audit]\ncheckpoint_events = 1\ncheckpoint_interval = \"1s\"\n";

/// A file with a passphrase.
fn phrase(bed: &TestBed, name: &str, text: &str) -> PathBuf {
    let path = bed.write(name, text);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

fn signet(words: &[&dyn AsRef<Path>]) -> CliOutput {
    let mut line: Vec<_> = words.iter().map(|word| word.as_ref().as_os_str().to_owned()).collect();
    line.extend(["-o".into(), "json".into()]);
    Cli::run(&line)
}

fn back_up(ca: &Ca, file: &Path, phrase: &Path) -> CliOutput {
    signet(&[&"ca", &"backup", &file, &"--passphrase-file", &phrase, &"--socket", &ca.admin_socket()])
}

fn kinds(ca: &Ca) -> Vec<String> {
    let events: Value = serde_json::from_str(&ca.operate(&["audit", "tail", "-n", "100000"]).ok().stdout).unwrap();
    events.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

fn why(output: &CliOutput) -> String {
    let document: Value = serde_json::from_str(&output.stderr).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    document["why"].as_str().unwrap_or_default().to_owned()
}

/// Starts a CA on a state directory that was restored, where the former one listened.
async fn start_restored(bed: &TestBed, former: &Ca, name: &str) -> Ca {
    let text = std::fs::read_to_string(bed.path().join("ca.toml")).unwrap();
    let text = text
        .replace("ca-state", &format!("{name}-state"))
        .replace("ca-admin.sock", &format!("{name}-admin.sock"))
        .replace("listen = \"127.0.0.1:0\"", &format!("listen = \"{}\"", former.address));
    bed.write(&format!("{name}.toml"), &text);
    Ca::run(bed.path(), name, "example.org").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_was_put_back_is_found_by_its_agents_and_what_is_lost_is_told() {
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions { extra: CHECKPOINTS.to_owned(), ..CaOptions::default() }).await;
    let mut agent = Agent::start(&bed, &ca, "node-1").await;
    let uid = format!("unix:uid:{}", nix::unistd::getuid());
    ca.create_entry("spiffe://example.org/web", &[&uid], "node-1");
    let mut client = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut open = client.subscribe(&["default"]).await.unwrap();
    let first = open.next().await.unwrap();
    open.acknowledge(&first).await;
    // A stream that acknowledges nothing more would hold the rotation up.
    drop((open, client));

    let (file, secret) = (bed.path().join("ca.backup"), phrase(&bed, "phrase", "a passphrase of a test\n"));
    let made = back_up(&ca, &file, &secret).ok().json();
    assert_eq!(made["backup"]["was_running"], true, "{made}");
    let saved = made["backup"]["events"].as_u64().unwrap();
    assert!(!ca.state_dir().join("backup-snapshot").exists());
    let verified = signet(&[&"ca", &"backup", &"verify", &file, &"--passphrase-file", &secret]).ok().json();
    assert_eq!(verified["backup"], made["backup"]);
    assert!(why(&back_up(&ca, &file, &secret)).contains("never overwritten"));

    // It goes on: another issuing CA, by which the agent has another SVID; another node; an identity that is denied.
    let drill = ca.operate(&["drill", "issuer"]).ok();
    assert!(drill.stdout.contains("completed"), "{}", drill.stdout);
    let late = Agent::start(&bed, &ca, "node-2").await;
    let _denied = ca.operate(&["revoke", "--spiffe-id", "spiffe://example.org/db", "--reason", "key-compromise"]).ok();
    let kept = eventually("the agent to keep a later checkpoint", async || {
        let kept = agent.operate(&["agent", "checkpoint"]);
        (kept.code == 0 && kept.json()["sequence"].as_u64()? > saved).then_some(kept)
    })
    .await;
    let checkpoint = bed.write("n1.json", &kept.stdout);
    let bundle = ca.operate(&["status"]).ok().json()["bundle_sequence"].as_u64().unwrap();
    ca.kill_hard().await;

    // Silently it does not go back; with the word of an agent it says by how much.
    let state = bed.path().join("restored-state");
    let restore: [&dyn AsRef<Path>; 9] =
        [&"ca", &"restore", &file, &"--state-dir", &state, &"--passphrase-file", &secret, &"--checkpoint", &checkpoint];
    let refused = signet(&restore);
    assert_eq!(refused.code, 3, "{refused:?}");
    let told = why(&refused);
    assert!(told.contains("at least") && told.contains("events are lost") && told.contains("bans"), "{told}");
    assert!(!state.exists());
    let restored = signet(&[&restore[..], &[&"--accept-loss"]].concat()).ok().json();
    assert!(restored["lost"]["events_lost_at_least"].as_u64().unwrap() > 0, "{restored}");

    let ca = start_restored(&bed, &ca, "restored").await;
    ca.ready().await;
    let status = ca.operate(&["status"]).ok().json();
    assert!(status["warnings"].to_string().contains("was put back at"), "{status}");
    assert!(status["bundle_sequence"].as_u64().unwrap() > bundle, "above what agents have: {status}");
    assert_eq!(kinds(&ca).iter().filter(|kind| *kind == "ca_restored").count(), 1);

    // The agent's SVID is unknown here, and its node key is not: it comes back by itself, and is served.
    agent.ready().await;
    eventually("the agent to be connected", async || {
        (agent.metric("signet_agent_sync_connected").await == Some(1.0)).then_some(())
    })
    .await;
    ca.create_entry("spiffe://example.org/later", &[&uid], "node-1");
    let mut client = SdsClient::connect(&agent.api_socket()).await.unwrap();
    let mut stream = client.subscribe(&["spiffe://example.org/later"]).await.unwrap();
    let served = stream.next().await.expect("what is entered now is served");
    assert!(served.secrets.iter().any(|secret| secret.key_pem.is_some()), "{served:?}");
    drop((stream, client));
    // What is lost is seen: certificates that are not on record, the node that joined later, another history.
    eventually("the certificates that are not on record to be told", async || {
        let events = ca.operate(&["audit", "tail", "-n", "100000"]).ok().stdout;
        let unknown = |node: &str| {
            events.contains("unknown_certificate_shown") && events.contains(&format!("spiffe://example.org/signet/agent/{node}"))
        };
        (unknown("node-1") && unknown("node-2")).then_some(())
    })
    .await;
    eventually("the node that joined later to be refused", async || {
        let refused =
            late.readiness().await.1.contains("not known") || late.metric("signet_agent_sync_connected").await == Some(0.0);
        refused.then_some(())
    })
    .await;
    eventually("the other history to be found", async || kinds(&ca).iter().any(|kind| kind == "audit_fork_found").then_some(()))
        .await;
    let _seen = ca.operate(&["audit", "acknowledge-fork"]).ok();
    assert!(ca.operate(&["audit", "verify"]).ok().json()["holds"].as_bool().unwrap());

    // The way out for what was issued in between, by an issuing CA that is in no record: it ends with its root.
    let drill = ca.operate(&["drill", "root"]).ok();
    assert!(drill.stdout.contains("completed"), "{}", drill.stdout);
    agent.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_backup_is_refused_and_one_backup_is_made_at_a_time() {
    let bed = TestBed::new();
    let mut ca = Ca::start(&bed, CaOptions::default()).await;
    let (file, secret) = (bed.path().join("ca.backup"), phrase(&bed, "phrase", "right"));
    let state = bed.path().join("other-state");
    for (name, text, mode) in [("empty", "", 0o600), ("open", "right", 0o644)] {
        let bad = bed.write(name, text);
        std::fs::set_permissions(&bad, PermissionsExt::from_mode(mode)).unwrap();
        assert_eq!(back_up(&ca, &file, &bad).code, 1, "{name}");
        assert!(!file.exists());
    }
    let _made = back_up(&ca, &file, &secret).ok();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let good = std::fs::read(&file).unwrap();
    for form in ["PRIVATE KEY", "SQLite format", "trust_domain"] {
        assert!(!good.windows(form.len()).any(|window| window == form.as_bytes()), "{form} is in it as it is");
    }
    let metrics = ca.metrics().await;
    assert!(metrics.contains("signet_ca_backups_total{outcome=\"made\"} 1"), "{metrics}");

    let refused = |bytes: &[u8], words: &str| {
        let bad = bed.path().join("bad.backup");
        std::fs::write(&bad, bytes).unwrap();
        let verify: [&dyn AsRef<Path>; 6] = [&"ca", &"backup", &"verify", &bad, &"--passphrase-file", &secret];
        let restore: [&dyn AsRef<Path>; 8] =
            [&"ca", &"restore", &bad, &"--state-dir", &state, &"--passphrase-file", &secret, &"--accept-loss"];
        for line in [&verify[..], &restore[..]] {
            let output = signet(line);
            assert!(output.code == 1 && why(&output).contains(words), "{words}: {output:?}");
        }
        assert!(!state.exists());
    };
    let middle = good.len() / 2;
    let mut changed = good.clone();
    changed[middle] ^= 1;
    refused(&changed, "changed");
    refused(&good[..middle], "cut");
    refused(&good[..10], "no backup");
    let mut newer = good.clone();
    newer[15] = 9;
    refused(&newer, "version 9");
    let wrong = phrase(&bed, "wrong", "wrong");
    let output = signet(&[&"ca", &"backup", &"verify", &file, &"--passphrase-file", &wrong]);
    assert!(why(&output).contains("passphrase is another one"), "{output:?}");

    // Offline it is for a CA that is stopped.
    let config = bed.path().join("ca.toml");
    let offline = bed.path().join("offline.backup");
    let line: [&dyn AsRef<Path>; 7] = [&"ca", &"backup", &offline, &"--passphrase-file", &secret, &"--config", &config];
    assert!(why(&signet(&line)).contains("in use by process"));
    ca.process.stop().await;
    let made = signet(&line).ok().json();
    assert_eq!(made["backup"]["was_running"], false, "{made}");
    let restored: [&dyn AsRef<Path>; 8] =
        [&"ca", &"restore", &offline, &"--state-dir", &state, &"--passphrase-file", &secret, &"--accept-loss"];
    let _restored = signet(&restored).ok();
    let again = signet(&restored);
    assert!(why(&again).contains("nothing is ever overwritten"), "{again:?}");
}
