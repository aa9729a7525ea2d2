//! Private keys under a passphrase: those of the CA and of the agent, and what OpenSSL says of them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Agent, AgentOptions, Ca, CaOptions, Cli, CliOutput, TestBed, signet_binary};

const PASSPHRASE: &str = "correct-horse-battery-staple";

fn private(bed: &TestBed, name: &str, content: &str) -> PathBuf {
    let path = bed.write(name, content);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

fn keys_table(passphrase: &Path) -> String {
    format!("[keys]\npassphrase_file = \"{}\"", passphrase.display())
}

fn ca(verb: &[&str], config: &Path) -> CliOutput {
    Cli::run(&[&["ca"], verb, &["--config", config.to_str().unwrap()]].concat())
}

/// What OpenSSL makes of a key file under a passphrase file: whether it opens, and what it holds.
fn opened_by_openssl(key: &Path, passphrase: &Path) -> Option<String> {
    let from = format!("file:{}", passphrase.display());
    let output = Command::new("openssl").args(["pkcs8", "-in"]).arg(key).args(["-passin", &from]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// The lines of a PEM text that are a key.
fn lines_of(pem: &str) -> Vec<String> {
    pem.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_of_ca_and_agent_lies_under_the_passphrase_and_nothing_tells_it() {
    let bed = TestBed::new();
    let passphrase = private(&bed, "passphrase", &format!("{PASSPHRASE}\n"));
    let wrong = private(&bed, "wrong", "correct-horse\n");
    let options = CaOptions { extra: keys_table(&passphrase), ..CaOptions::default() };
    let mut running = Ca::start(&bed, options.clone()).await;
    let token = running.create_token("node-1");
    let agent_options = AgentOptions { extra: keys_table(&passphrase), ..AgentOptions::default() };
    let mut agent = Agent::launch(&bed, &running, "node-1", &token, agent_options).await;
    agent.ready().await;

    let authority = running.state_dir().join("authority/0001/ca-key.pem");
    let keys = [
        running.state_dir().join("root-key.pem"),
        running.state_dir().join("jwt-key.pem"),
        authority.clone(),
        agent.state_dir().join("node-key.pem"),
        agent.state_dir().join("agent-svid.pem"),
    ];
    let mut traces = vec![PASSPHRASE.to_owned()];
    for key in &keys {
        let text = std::fs::read_to_string(key).unwrap();
        assert!(text.contains("BEGIN ENCRYPTED PRIVATE KEY") && !text.contains("BEGIN PRIVATE KEY"), "{}", key.display());
        let plain = opened_by_openssl(key, &passphrase).unwrap_or_else(|| panic!("OpenSSL does not read {}", key.display()));
        assert!(plain.contains("BEGIN PRIVATE KEY"), "{}", key.display());
        assert_eq!(opened_by_openssl(key, &wrong), None, "{}", key.display());
        traces.extend(lines_of(&plain));
    }

    // A restart of both reads what was written.
    running.kill_hard().await;
    running.start_again().await;
    agent.process.kill_hard().await;
    agent.start_again().await;
    agent.ready().await;
    for (process, name) in [(&running.process, "the CA"), (&agent.process, "the agent")] {
        let environment = std::fs::read(format!("/proc/{}/environ", process.id())).unwrap();
        let arguments = std::fs::read(format!("/proc/{}/cmdline", process.id())).unwrap();
        let told = [process.stdout(), process.stderr()].concat()
            + &String::from_utf8_lossy(&environment)
            + &String::from_utf8_lossy(&arguments);
        assert!(told.contains("signet"));
        for trace in &traces {
            assert!(!told.contains(trace.as_str()), "{name} tells a secret");
        }
    }

    // A renewal needs the passphrase too, and is taken up by the running CA's rules.
    let config = bed.path().join("ca.toml");
    let _renewed = ca(&["issuer", "renew"], &config).ok();
    let renewed = running.state_dir().join("authority/0002/ca-key.pem");
    assert!(opened_by_openssl(&renewed, &passphrase).is_some());
    let _checked = ca(&["check"], &config).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_protected_as_configured_stops_the_start_and_the_way_out_works() {
    let bed = TestBed::new();
    let passphrase = private(&bed, "passphrase", PASSPHRASE);
    let plain = CaOptions::default();
    let config = Ca::configure(&bed, "ca", "127.0.0.1:0", &plain);
    let _made = ca(&["init"], &config).ok();
    let _good = ca(&["check"], &config).ok();
    let with = |table: String| {
        let file = Ca::configure(&bed, "ca", "127.0.0.1:0", &CaOptions { extra: table, ..CaOptions::default() });
        assert_eq!(file, config);
    };
    let refused = |told: &str| {
        let outcome = ca(&["check"], &config);
        assert!(outcome.code != 0 && outcome.stderr.contains(told), "{told:?} is not in: {}", outcome.stderr);
    };

    // A passphrase and plain keys: refused, and OpenSSL's encryption is the way out.
    with(keys_table(&passphrase));
    refused("openssl pkcs8 -topk8");
    for key in ["authority/0001/ca-key.pem", "jwt-key.pem", "audit-key.pem", "root-key.pem"] {
        let key = bed.path().join("ca-state").join(key);
        let sealed = bed.path().join("sealed.pem");
        let pass = format!("file:{}", passphrase.display());
        let encrypt = ["-topk8", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256", "-iter", "600000", "-passout", &pass];
        let output = Command::new("openssl").arg("pkcs8").args(encrypt).arg("-in").arg(&key).arg("-out").arg(&sealed).output();
        assert!(output.unwrap().status.success());
        std::fs::set_permissions(&sealed, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::rename(&sealed, &key).unwrap();
    }
    let _good = ca(&["check"], &config).ok();
    Ca::run(bed.path(), "ca", "example.org").await.process.stop().await;

    // Encrypted keys without a passphrase, with another, with an open file, without the file, without the credential.
    with(String::new());
    refused("passphrase_file");
    with(keys_table(&private(&bed, "other", "another one")));
    refused("the passphrase does not open");
    let open = bed.write("open", PASSPHRASE);
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o644)).unwrap();
    with(keys_table(&open));
    refused("0600");
    with(keys_table(&bed.path().join("missing")));
    refused("missing");
    with("[keys]\npassphrase_credential = \"ca-keys\"".to_owned());
    refused("LoadCredential=ca-keys");

    // The credential, as the service manager passes it.
    let credentials = bed.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::copy(&passphrase, credentials.join("ca-keys")).unwrap();
    let mut command = Command::new(signet_binary());
    command.args(["ca", "check", "--config"]).arg(&config).env("CREDENTIALS_DIRECTORY", &credentials);
    let checked = command.output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
