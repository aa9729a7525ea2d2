//! A client of the CA's own port while authorities are in motion: each second a handshake, verified as the agent would that is furthest
//! behind. What it sees is told with the rotation.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use identity::TrustDomain;
use mtls::{ClientTls, PeerMatcher, ServerTrust};
use pki::TrustBundle;
use runtime::clock::{Clock, Ticker};
use runtime::shutdown::Shutdown;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{Probes, RotationView};
use crate::authority::lifecycle::AuthorityKind;
use crate::authority::lifecycle::gate::Facts;

const PERIOD: Duration = Duration::from_secs(1);
/// A handshake that takes longer has failed: agents wait no longer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Bundles that are kept to probe with. A rotation publishes four.
const MOST_BUNDLES: usize = 64;

/// What was seen, by the kind that is being rotated. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProbeCounts(Arc<Mutex<BTreeMap<AuthorityKind, Probes>>>);

impl ProbeCounts {
    /// A rotation of this kind begins.
    pub(crate) fn begin(&self, kind: AuthorityKind) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(kind, Probes::default());
    }

    /// What was seen during the rotation of this kind.
    pub(crate) fn of(&self, kind: AuthorityKind) -> Probes {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&kind).cloned().unwrap_or_default()
    }

    fn count(&self, kind: AuthorityKind, outcome: &Result<(), String>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let probes = counts.entry(kind).or_default();
        probes.made = probes.made.saturating_add(1);
        if let Err(why) = outcome {
            probes.failed = probes.failed.saturating_add(1);
            probes.last_failure = Some(why.clone());
        }
    }
}

/// The client.
pub(crate) struct Prober {
    pub(crate) trust_domain: TrustDomain,
    /// Where the CA listens.
    pub(crate) listening: SocketAddr,
    pub(crate) bundle: watch::Receiver<Arc<TrustBundle>>,
    pub(crate) view: watch::Receiver<Arc<RotationView>>,
    pub(crate) counts: ProbeCounts,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Prober {
    /// Probes until the end, whenever a rotation is under way.
    ///
    /// # Errors
    /// When the kernel gives no timer.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> std::io::Result<()> {
        let mut ticker = Ticker::new(PERIOD)?;
        let mut kept = BTreeMap::new();
        loop {
            self.keep(&mut kept);
            let probing = async {
                let kinds = self.kinds();
                if kinds.is_empty() {
                    return;
                }
                let Some(outcome) = self.probe_as_the_furthest_behind(&kept).await else { return };
                if let Err(why) = &outcome {
                    tracing::warn!(why, "a client of this CA was failed during a rotation");
                }
                kinds.into_iter().for_each(|kind| self.counts.count(kind, &outcome));
            };
            tokio::select! {
                // Whichever is first: a probe that is cut off at the end is not counted.
                () = shutdown.fired() => return Ok(()),
                () = probing => {}
            }
            // Until the next second, keeping each bundle that comes meanwhile.
            let mut next = std::pin::pin!(ticker.tick());
            loop {
                tokio::select! {
                    () = shutdown.fired() => return Ok(()),
                    woken = &mut next => { woken?; break; }
                    Ok(()) = self.bundle.changed() => self.keep(&mut kept),
                }
            }
        }
    }

    fn keep(&mut self, kept: &mut BTreeMap<u64, Arc<TrustBundle>>) {
        let bundle = Arc::clone(&self.bundle.borrow_and_update());
        kept.insert(bundle.sequence(), bundle);
        while kept.len() > MOST_BUNDLES {
            kept.pop_first();
        }
    }

    fn kinds(&self) -> Vec<AuthorityKind> {
        let view = self.view.borrow();
        let under_way = view.rotations.iter().filter(|standing| standing.is_under_way());
        under_way.map(|standing| standing.rotation.from.kind).collect()
    }

    /// The bundle of the agent that is furthest behind, as far as it is known; the newest when there is no agent.
    fn furthest_behind(&self, kept: &BTreeMap<u64, Arc<TrustBundle>>) -> Option<Arc<TrustBundle>> {
        let sequence = in_use(&self.view.borrow().facts).unwrap_or(u64::MAX);
        let up_to = kept.range(..=sequence).next_back().or_else(|| kept.first_key_value());
        up_to.map(|(_, bundle)| Arc::clone(bundle))
    }

    /// What a client sees that has the bundle of the agent that is furthest behind. A failure by a bundle that every agent had left by then,
    /// because the gate opened between the choice and the handshake, is nobody's: the facts that open a gate are shown before it opens.
    pub(super) async fn probe_as_the_furthest_behind(
        &self,
        kept: &BTreeMap<u64, Arc<TrustBundle>>,
    ) -> Option<Result<(), String>> {
        let bundle = self.furthest_behind(kept)?;
        let used = bundle.sequence();
        let outcome = self.probe(bundle).await;
        let newest = self.bundle.borrow().sequence();
        let is_left = in_use(&self.view.borrow().facts).unwrap_or(newest) > used;
        if outcome.is_err() && is_left { None } else { Some(outcome) }
    }

    async fn probe(&self, bundle: Arc<TrustBundle>) -> Result<(), String> {
        let (_sender, bundle) = watch::channel(bundle);
        let trust = ServerTrust::Bundle { bundle, expect: PeerMatcher::SignetCa(self.trust_domain.clone()) };
        let tls = ClientTls::new(trust, None, &[b"h2"], Arc::clone(&self.clock));
        let handshake = async {
            let stream = TcpStream::connect(reachable(self.listening)).await.map_err(|error| error.to_string())?;
            tls.connect(stream).await.map(drop).map_err(|error| error.to_string())
        };
        match tokio::time::timeout(DEADLINE, handshake).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no handshake within {DEADLINE:?}")),
        }
    }
}

/// The oldest bundle that an agent has, as far as it is known; `None` when there is no agent.
fn in_use(facts: &Facts) -> Option<u64> {
    facts.agents.iter().map(|agent| agent.acknowledged).filter(|sequence| *sequence > 0).min()
}

/// Where a client on this machine reaches what listens there.
fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listening.port())
}
