//! Pods that see what was written only after a while, as a kubelet has it, through a rotation of the root.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use identity::TrustDomain;
use pki::{TrustBundle, Usage, certificates_from_pem, validate_svid};
use runtime::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use tests::{Cli, Requirement, eventually_within, needs};

use super::{Field, ROOTS, roots_of};
use crate::kubernetes_tokens::LIMIT;

const PODS: usize = 6;
/// The longest that a kubelet takes: a tenth of that of a real one.
const LATEST: Duration = Duration::from_secs(9);

/// What one pod has, and what its kubelet knows and has not brought yet. Each is what was written and when the pod sees it.
#[derive(Default)]
struct Pod {
    chain: View,
    roots: View,
}

/// One file of a volume: what is there, and what is to come by the time since boot.
#[derive(Default)]
struct View {
    seen: String,
    coming: Vec<(Duration, String)>,
}

impl View {
    /// The kubelet learns of this, and brings it after a while; what is brought is never older than what is there.
    fn learn(&mut self, content: &str, at: Duration) {
        let newest = self.coming.last().map_or(&self.seen, |(_, content)| content);
        if newest != content {
            self.coming.push((at, content.to_owned()));
        }
    }

    fn look(&mut self, now: Duration) -> &str {
        while let Some(position) = self.coming.iter().rposition(|(at, _)| *at <= now) {
            let (_, content) = self.coming.drain(..=position).next_back().expect("there is one at this position");
            self.seen = content;
        }
        &self.seen
    }
}

/// Delays that are spread evenly, and the same in each run.
struct Delays(u64);

impl Delays {
    fn next(&mut self) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        LATEST.mul_f64(f64::from(u32::try_from(self.0 >> 33).unwrap_or_default()) / f64::from(u32::MAX >> 1))
    }
}

/// What the pods of a namespace went through.
#[derive(Debug, Default)]
struct Seen {
    handshakes: u64,
    refused: u64,
    /// How many pairs of chains and bundles there were.
    pairs: usize,
}

/// Has a root rotated while pods look at each other's certificates by the bundles that they see.
async fn rotate(namespace: &'static str, hold: Duration) -> Seen {
    let field = Field::new(namespace).await;
    field.allow().await;
    let rules = [
        ("accounts", json!({ "apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get", "list", "watch"] })),
        (
            "secrets",
            json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch", "create", "patch", "delete"] }),
        ),
    ];
    for (what, rule) in &rules {
        field.stage.allow(what, rule).await;
    }
    for number in 0..PODS {
        let _uid = field.stage.account(&format!("a{number}")).await;
    }
    let further = format!(
        "[kubernetes.secrets]\nmode = \"namespaces\"\nnamespaces = [\"{namespace}\"]\n[rotation]\npropagation_hold = \"{}s\"\n",
        hold.as_secs()
    );
    let ca = field.ca("", &further).await;
    let first = roots_of(&ca);
    let mut pods: Vec<Pod> = (0..PODS).map(|_| Pod::default()).collect();
    // Each begins with what there is.
    eventually_within("each pod to have its files", LIMIT, async || {
        let (chains, roots) = written(&field).await?;
        for (number, pod) in pods.iter_mut().enumerate() {
            pod.chain.seen.clone_from(chains.get(&format!("istio.a{number}"))?);
            pod.roots.seen.clone_from(&roots);
        }
        (roots == first).then_some(())
    })
    .await;

    let words = ["drill", "root", "--socket"].map(str::to_owned);
    let words: Vec<_> = words.into_iter().chain([ca.admin_socket().display().to_string()]).collect();
    let mut drill = tokio::task::spawn_blocking(move || Cli::run(&words));
    let clock = SystemClock::shared();
    let (mut delays, mut seen, mut judged) = (Delays(hold.as_secs()), Seen::default(), HashMap::new());
    let mut ends: Option<Duration> = None;
    loop {
        let now = clock.boottime();
        if let Some((chains, roots)) = written(&field).await {
            for (number, pod) in pods.iter_mut().enumerate() {
                if let Some(chain) = chains.get(&format!("istio.a{number}")) {
                    pod.chain.learn(chain, now + delays.next());
                }
                pod.roots.learn(&roots, now + delays.next());
            }
        }
        look(&mut pods, &clock, &mut judged, &mut seen);
        if ends.is_none() && drill.is_finished() {
            let _done = (&mut drill).await.unwrap().ok();
            // What is on its way then is seen too.
            ends = Some(clock.boottime() + LATEST);
        }
        if ends.is_some_and(|ends| clock.boottime() > ends) {
            break;
        }
    }
    seen.pairs = judged.len();
    let last = roots_of(&ca);
    assert!(last != first && certificates_from_pem(last.as_bytes()).unwrap().len() == 1, "the root was replaced");
    for pod in &mut pods {
        assert_eq!(pod.roots.look(Duration::MAX), last, "every pod has it in the end");
    }
    seen
}

/// Every pod shows its certificate to every pod.
fn look(
    pods: &mut [Pod],
    clock: &Arc<dyn Clock>,
    judged: &mut HashMap<(String, String), bool>,
    Seen { handshakes, refused, pairs: _ }: &mut Seen,
) {
    let now = clock.boottime();
    let views: Vec<_> = pods.iter_mut().map(|pod| (pod.chain.look(now).to_owned(), pod.roots.look(now).to_owned())).collect();
    for (chain, _) in &views {
        for (_, roots) in &views {
            let is_good = judged.entry((chain.clone(), roots.clone())).or_insert_with(|| verifies(chain, roots));
            *handshakes += 1;
            *refused += u64::from(!*is_good);
        }
    }
}

fn verifies(chain: &str, roots: &str) -> bool {
    let domain = TrustDomain::parse("cluster.local").unwrap();
    let bundle = TrustBundle::from_pem(domain, roots.as_bytes(), 1).expect("what pods see is whole");
    let chain: Vec<_> = certificates_from_pem(chain.as_bytes()).unwrap().iter().map(|one| one.der().clone()).collect();
    validate_svid(&chain, &bundle, Usage::Server, SystemClock::shared().now().into()).is_ok()
}

/// The chains of the Secrets by their names, and the roots of the ConfigMap, as the API server has them.
async fn written(field: &Field) -> Option<(BTreeMap<String, String>, String)> {
    let namespace = field.stage.namespace;
    let secrets = field.stage.admin.get(&format!("/api/v1/namespaces/{namespace}/secrets")).await.ok();
    let chain = |secret: &Value| {
        let chain = BASE64.decode(secret["data"]["cert-chain.pem"].as_str()?.as_bytes()).ok()?;
        Some((secret["metadata"]["name"].as_str()?.to_owned(), String::from_utf8(chain).ok()?))
    };
    let chains = secrets["items"].as_array()?.iter().filter_map(chain).collect();
    let map = field.map(namespace, ROOTS).await?;
    Some((chains, map["data"]["root-cert.pem"].as_str()?.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_see_everything_late_accept_each_other_through_a_rotation_and_without_the_hold_they_do_not() {
    let name = "pods_that_see_everything_late_accept_each_other_through_a_rotation_and_without_the_hold_they_do_not";
    if !needs(name, Requirement::ApiServer) {
        return;
    }
    let hold = LATEST + Duration::from_secs(1);
    let (held, hasty) = tokio::join!(rotate("trust-late", hold), rotate("trust-hasty", Duration::ZERO));
    eprintln!("with a hold of {hold:?}: {held:?}; without: {hasty:?}");
    assert_eq!(held.refused, 0, "with the hold nobody is refused");
    assert!(held.handshakes > 1000 && held.pairs > PODS * 2, "{held:?}");
    assert!(hasty.refused > 0, "the same rotation without a hold must hurt, or this test shows nothing");
}
