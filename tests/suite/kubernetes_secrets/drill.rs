//! A rotation of the root while agents run, the API server is killed in the middle, and every version of every Secret is looked at.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use identity::TrustDomain;
use kubernetes::follower::Index;
use kubernetes::secrets::Secret;
use kubernetes::{ClusterConfig, Known, KubernetesClient, KubernetesMetrics, Watcher};
use pki::{PrivateKey, TrustBundle, Usage, certificates_from_pem, validate_svid};
use runtime::clock::SystemClock;
use runtime::entropy::SystemEntropy;
use tests::{Ca, Cli, FleetAddresses, Requirement, SimulatedFleet, eventually_within, needs};
use tokio::task::JoinSet;

use super::field::{Field, TYPE};
use crate::kubernetes_tokens::LIMIT;

/// How many bundles the CA published last a version may have been written under: it was on its way.
const ON_ITS_WAY: usize = 2;

/// What was published, the newest last.
type Published = Arc<Mutex<VecDeque<String>>>;

/// Looks at each version that a watch or a list tells of.
#[derive(Default)]
struct Versions {
    published: Published,
    /// By name, the version that was looked at last.
    seen: BTreeMap<String, String>,
    looks: usize,
    invalid: Vec<String>,
}

impl Versions {
    fn look(&mut self, secret: &Secret) {
        if self.seen.insert(secret.name.clone(), secret.version.clone()).as_ref() == Some(&secret.version) {
            return;
        }
        self.looks += 1;
        let published: Vec<_> = self.published.lock().unwrap().iter().rev().take(ON_ITS_WAY).cloned().collect();
        if let Err(why) = valid(secret, &published) {
            self.invalid.push(format!("{} at {}: {why}", secret.name, secret.version));
        }
    }
}

/// Whether key, chain and roots are of one piece, and the chain verifies under what was published when it was seen.
fn valid(secret: &Secret, published: &[String]) -> Result<(), String> {
    let file = |name: &str| secret.data.get(name).ok_or_else(|| format!("no {name}"));
    let key = PrivateKey::from_pem(file("key.pem")?).map_err(|error| error.to_string())?;
    let chain = certificates_from_pem(file("cert-chain.pem")?).map_err(|error| error.to_string())?;
    if chain.first().map(|leaf| leaf.public_key()) != Some(key.public_key()) {
        return Err("the key is another's".to_owned());
    }
    let chain: Vec<_> = chain.iter().map(|certificate| certificate.der().clone()).collect();
    let under = |roots: &[u8]| -> Result<(), String> {
        let domain = TrustDomain::parse("cluster.local").expect("a domain");
        let bundle = TrustBundle::from_pem(domain, roots, 1).map_err(|error| error.to_string())?;
        validate_svid(&chain, &bundle, Usage::Server, SystemClock::shared().now().into())
            .map(drop)
            .map_err(|error| error.to_string())
    };
    under(file("root-cert.pem")?).map_err(|error| format!("under its own roots: {error}"))?;
    let mut faults = published.iter().map(|roots| under(roots.as_bytes()));
    if faults.any(|outcome| outcome.is_ok()) { Ok(()) } else { Err("under none of the bundles of that time".to_owned()) }
}

impl Index for Versions {
    type Object = Secret;

    fn replace(&mut self, objects: Vec<Secret>) {
        objects.iter().for_each(|secret| self.look(secret));
    }

    fn apply(&mut self, secret: Secret) {
        self.look(&secret);
    }

    fn remove(&mut self, _: &Secret) {}

    fn count(&self) -> usize {
        self.seen.len()
    }
}

fn published_now(ca: &Ca) -> String {
    let socket = ca.admin_socket();
    Cli::run(&["bundle", "export", "--socket", socket.to_str().expect("a path of ours is text")]).ok().stdout
}

/// Answers with how many versions were looked at.
async fn drill(namespace: &'static str, accounts: usize, agents: usize) -> usize {
    let mut field = Field::of_own(namespace).await;
    field.allow().await;
    let rest = "[rotation]\npropagation_hold = \"2s\"\n[limits]\nattestations_per_minute = 100000\n";
    let ca = field.ca(rest).await;
    for number in 0..accounts {
        let _uid = field.stage.account(&format!("a{number}")).await;
    }
    let mut fleet = SimulatedFleet::attest(&ca, agents).await;
    fleet.connect(FleetAddresses::Many);
    let path = field.collection("secrets");
    eventually_within("all Secrets and all agents", LIMIT * 5, async || {
        let secrets = field.stage.admin.get(&path).await.ok()["items"].as_array().map_or(0, Vec::len);
        (secrets == accounts + 2 && fleet.connected() == agents).then_some(())
    })
    .await;

    // The watch of the test is an administrator's own.
    let token_file = field.stage.bed.write("admin-token", field.stage.server.admin_token());
    let address = field.stage.server.address();
    let config = ClusterConfig {
        api_server: format!("https://{address}").parse().unwrap(),
        roots: field.stage.server.roots().to_owned(),
        token_file,
    };
    let client = KubernetesClient::new(config, SystemClock::shared(), KubernetesMetrics::default());
    let selection = Secret::of_type(TYPE, Some(namespace)).unwrap();
    let known = Known::<Versions>::default();
    let published = Published::default();
    let first = published_now(&ca);
    published.lock().unwrap().push_back(first.clone());
    known.locked().index_mut().published = Arc::clone(&published);
    let (end, ended) = runtime::shutdown::channel();
    let watcher = Watcher::new(client, selection, known.clone(), SystemClock::shared(), Arc::new(SystemEntropy));
    let mut watching = JoinSet::new();
    watching.spawn(watcher.run(ended, |_| {}));
    eventually_within("each Secret to be looked at", LIMIT, async || {
        (known.locked().index().count() == accounts + 2).then_some(())
    })
    .await;

    let words = ["drill", "root", "--socket"].map(str::to_owned);
    let words: Vec<_> = words.into_iter().chain([ca.admin_socket().display().to_string()]).collect();
    let mut drill = tokio::task::spawn_blocking(move || Cli::run(&words));
    let mut is_killed = false;
    let done = loop {
        let now = published_now(&ca);
        let changed = {
            let mut published = published.lock().unwrap();
            let changed = published.back() != Some(&now);
            if changed {
                published.push_back(now);
            }
            changed
        };
        // In the middle of the first sweep, when some have both roots.
        if changed && !is_killed {
            eventually_within("the sweep to begin", LIMIT, async || (known.locked().index().looks > accounts + 10).then_some(()))
                .await;
            let server = Arc::get_mut(&mut field.stage.server).unwrap();
            server.end();
            server.run().await;
            is_killed = true;
        }
        tokio::select! {
            done = &mut drill => break done.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    };
    let _done = done.ok();
    assert!(is_killed);
    let last = published_now(&ca);
    assert!(last != first && last.matches("BEGIN").count() == 1);
    let shown = eventually_within("the last version of each Secret to be looked at", LIMIT * 5, async || {
        let secrets = field.stage.admin.get(&path).await.ok();
        let items = secrets["items"].as_array()?.clone();
        let known = known.locked();
        let is_seen = |item: &serde_json::Value| {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            known.index().seen.get(name).map(String::as_str) == item["metadata"]["resourceVersion"].as_str()
        };
        let roots = data_encoding::BASE64.encode(last.as_bytes());
        items.iter().all(|item| is_seen(item) && item["data"]["root-cert.pem"] == roots).then_some(items.len())
    })
    .await;
    assert_eq!(shown, accounts + 2);
    let looks = {
        let known = known.locked();
        let Versions { looks, invalid, .. } = known.index();
        assert!(invalid.is_empty(), "{invalid:?}");
        assert!(
            *looks >= 3 * accounts,
            "a version with both roots, one with the new certificate, one with the new root: {looks}"
        );
        *looks
    };
    assert_eq!(fleet.timeouts(), 0, "{:?}", fleet.faults());
    fleet.disconnect().await;
    end.fire();
    watching.join_next().await.unwrap().unwrap().unwrap();
    looks
}

#[tokio::test(flavor = "multi_thread")]
async fn no_version_of_a_secret_is_invalid_in_a_rotation_with_the_api_server_killed_in_the_middle() {
    if !needs("no_version_of_a_secret_is_invalid_in_a_rotation_with_the_api_server_killed_in_the_middle", Requirement::ApiServer)
    {
        return;
    }
    let looks = drill("drilled", 60, 5).await;
    eprintln!("60 Secrets, 5 agents, the API server killed once: {looks} versions looked at");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for ./test --full"]
async fn full_no_version_of_a_thousand_secrets_is_invalid_in_a_rotation_beside_fifty_agents() {
    if !needs("full_no_version_of_a_thousand_secrets_is_invalid_in_a_rotation_beside_fifty_agents", Requirement::ApiServer) {
        return;
    }
    let looks = drill("drilled-many", 1000, 50).await;
    eprintln!("1,000 Secrets, 50 agents, the API server killed once: {looks} versions looked at");
}
