//! The programs under the configuration that is rendered.

use serde_json::Value;
use tests::{Ca, CaOptions, Cli, PostgresServer, Requirement, TestBed, http_get, needs};

use super::OVERLAYS;
use super::cluster::{Cluster, NODE};
use super::directory;
use super::manifests::kustomized;

/// The arguments of a container of a workload, as the kubelet hands them over: `$(NAME)` is what the environment has.
pub(super) fn arguments(workload: &Value, list: &str, container: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let containers = workload["spec"]["template"]["spec"][list].as_array().unwrap();
    let found = containers.iter().find(|one| one["name"] == container).unwrap();
    let expanded = |argument: &Value| {
        let text = argument.as_str().unwrap().to_owned();
        environment.iter().fold(text, |text, (name, value)| text.replace(&format!("$({name})"), value))
    };
    found["args"].as_array().unwrap().iter().map(expanded).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_programs_run_with_the_arguments_and_files_of_the_base() {
    let name = "the_programs_run_with_the_arguments_and_files_of_the_base";
    if !(needs(name, Requirement::ApiServer) && needs(name, Requirement::Renderer)) {
        return;
    }
    let cluster = Cluster::new("base").await;
    let config = cluster.configure_ca(&cluster.file("signet-ca", "ca.toml")).await;
    let deployment = cluster.object("Deployment", "signet-ca");
    let placed = |words: Vec<String>, config: &std::path::Path, mounted: &str| -> Vec<String> {
        assert!(words.iter().any(|word| word == mounted), "{mounted} in {words:?}");
        let config = config.to_str().unwrap().to_owned();
        words.into_iter().map(|word| if word == mounted { config.clone() } else { word }).collect()
    };
    let init = placed(arguments(deployment, "initContainers", "init", &[]), &config, "/etc/signet/ca.toml");
    let as_json = |mut words: Vec<String>| {
        words.extend(["-o".to_owned(), "json".to_owned()]);
        Cli::run(&words).ok().json()
    };
    assert_eq!(as_json(init.clone())["made"], true);
    let root = std::fs::read(cluster.bed.path().join("ca-state/root-cert.pem")).unwrap();
    assert_eq!(as_json(init)["made"], false, "each start of the pod runs it");
    assert_eq!(std::fs::read(cluster.bed.path().join("ca-state/root-cert.pem")).unwrap(), root);
    let checked = as_json(["ca", "check", "--config", config.to_str().unwrap()].map(str::to_owned).to_vec());
    assert_eq!(checked["warnings"], serde_json::json!([]));
    // `Ca::run` says the same words.
    let words = placed(arguments(deployment, "containers", "ca", &[]), &config, "/etc/signet/ca.toml");
    assert_eq!(words[..2], ["ca", "run"].map(str::to_owned));
    let ca = Ca::run(cluster.bed.path(), "ca", "cluster.local").await;
    ca.ready().await;

    let agent_config = cluster.configure_agent(&ca).await;
    let environment = [("NODE_NAME", NODE)];
    let words = arguments(cluster.object("DaemonSet", "signet-agent"), "containers", "agent", &environment);
    let mut words = placed(words, &agent_config, "/etc/signet/agent.toml");
    assert_eq!(words[..2], ["agent", "run"].map(str::to_owned));
    words[1] = "check".to_owned();
    assert_eq!(as_json(words)["warnings"], serde_json::json!([]));
    let agent = tests::Agent::run(cluster.bed.path(), "agent").await;
    agent.ready().await;
    let nodes = ca.operate(&["node", "list"]).ok().json();
    assert_eq!(nodes[0]["node"], NODE, "{nodes}");

    // The probes of the manifests, at the address of this machine.
    let at = ca.telemetry().to_string();
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let command = container[probe]["exec"]["command"].as_array().unwrap();
        assert_eq!(command[0], "/usr/bin/signet");
        let words: Vec<_> = command[1..].iter().map(|word| word.as_str().unwrap().replace("127.0.0.1:9464", &at)).collect();
        let _yes = Cli::run(&words).ok();
    }
}

#[tokio::test]
async fn a_probe_says_yes_no_and_that_nobody_answers() {
    let bed = TestBed::new();
    let ca = Ca::start(&bed, CaOptions::default()).await;
    ca.ready().await;
    let probe = |check: &str, at: &str| Cli::run(&["probe", check, "--at", at]);
    let at = ca.telemetry().to_string();
    assert_eq!(probe("readyz", &at).code, 0);
    assert_eq!(probe("livez", &at).code, 0);
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = closed.local_addr().unwrap().to_string();
    drop(closed);
    assert_eq!(probe("livez", &silent).code, 4);
    assert_eq!(probe("livez", "unix:/nobody/is/here").code, 4);
    assert_eq!(probe("livez", "192.0.2.1:9464").code, 2, "no other machine is asked");
    // An agent without a CA lives and is not ready.
    let options = tests::AgentOptions { ca_address: Some(silent.parse().unwrap()), ..tests::AgentOptions::default() };
    let agent = tests::Agent::launch(&bed, &ca, "lonely", &ca.create_token("lonely"), options).await;
    let at = agent.telemetry().to_string();
    assert_eq!(http_get(agent.telemetry(), "/readyz").await.status, 503);
    assert_eq!(probe("livez", &at).code, 0);
    let no = probe("readyz", &at);
    assert!(no.code == 1 && no.stderr.contains("503"), "{no:?}");
}

#[test]
fn every_file_of_every_overlay_is_taken() {
    if !needs("every_file_of_every_overlay_is_taken", Requirement::Renderer) {
        return;
    }
    let bed = TestBed::new();
    let mut files = 0;
    for overlay in OVERLAYS {
        let objects = kustomized(&directory(overlay));
        for map in objects.iter().filter(|object| object["kind"] == "ConfigMap") {
            for (name, text) in map["data"].as_object().unwrap() {
                let file = bed.write(name, text.as_str().unwrap());
                let verb = if map["metadata"]["name"] == "signet-ca" { "ca" } else { "agent" };
                let mut words = vec![verb, "check", "--config", file.to_str().unwrap()];
                if verb == "agent" {
                    words.extend(["--kubernetes-node-name", NODE]);
                }
                // What the files name is not on this machine: that is told after the configuration was taken.
                let checked = Cli::run(&words);
                assert!(!checked.stderr.contains("is refused"), "{overlay}/{name}: {}", checked.stderr);
                files += 1;
            }
        }
        let misspelt =
            bed.write("misspelt.toml", "trust_domain = \"a\"\nstate_dir = \"/s\"\nlisten = \"127.0.0.1:0\"\nlisen = 1\n");
        assert!(Cli::run(&["ca", "check", "--config", misspelt.to_str().unwrap()]).stderr.contains("is refused"));
    }
    assert_eq!(files, 2 * OVERLAYS.len() + 1, "two each, and one more where there are two replicas");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_that_start_in_turn_the_first_makes_the_root() {
    let name = "of_two_replicas_that_start_in_turn_the_first_makes_the_root";
    if !(needs(name, Requirement::Postgres) && needs(name, Requirement::Renderer)) {
        return;
    }
    let bed = TestBed::new();
    let database = PostgresServer::start(&[]).unwrap().new_database();
    let objects = kustomized("overlays/ha");
    let map = objects.iter().find(|object| object["kind"] == "ConfigMap" && object["metadata"]["name"] == "signet-ca").unwrap();
    let stateful_set = objects.iter().find(|object| object["kind"] == "StatefulSet").unwrap();
    let mut replicas = Vec::new();
    for pod in ["signet-ca-0", "signet-ca-1"] {
        let init = arguments(stateful_set, "initContainers", "init", &[("POD_NAME", pod)]);
        assert_eq!(init[4], format!("/etc/signet/{pod}.toml"));
        let at = bed.path().display();
        let text = map["data"][format!("{pod}.toml")].as_str().unwrap();
        let (head, rest) = text.split_once("[store]").unwrap();
        let rest = &rest[rest.find("[telemetry]").unwrap()..rest.find("[kubernetes]").unwrap()];
        let socket = database.socket().display().to_string();
        let store = format!(
            "[store]\nkind = \"postgres\"\nsocket = \"{socket}\"\nuser = \"signet\"\ndatabase = \"{}\"\n",
            database.name()
        );
        let text = format!("{head}{store}{rest}")
            .replace("/var/lib/signet/ca", &format!("{at}/{pod}-state"))
            .replace("0.0.0.0:8443", "127.0.0.1:0")
            .replace("127.0.0.1:9464", "127.0.0.1:0");
        let file = bed.write(&format!("{pod}.toml"), &format!("admin_socket = \"{at}/{pod}-admin.sock\"\n{text}"));
        let made = Cli::run(&["ca", "init", "--if-missing", "-o", "json", "--config", file.to_str().unwrap()]).ok().json();
        assert_eq!(made["made"], pod == "signet-ca-0", "{pod}");
        let replica = Ca::run(bed.path(), pod, "cluster.local").await;
        replica.ready().await;
        replicas.push(replica);
    }
    let shown = replicas[0].operate(&["replica", "list"]).ok().json().to_string();
    for part in ["signet-ca-0", "signet-ca-1", "signet-ca-1.signet-ca-replicas.signet.svc:8443"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}
