//! The prober and a gate that opens while it shakes hands.

use tokio::net::TcpListener;

use super::*;

fn agent(node: &str, acknowledged: u64) -> AgentFacts {
    AgentFacts {
        node: node.parse().unwrap(),
        connected: true,
        acknowledged,
        streams_behind: 0,
        files_behind: 0,
        files_written_at: None,
        svids_tainted: 0,
    }
}

/// Probes, as the agent that is furthest behind, a port that hangs up; meanwhile the agents have come this far.
async fn failure_counts(meanwhile: u64) -> bool {
    let bed = Bed::new("").await;
    let mut seen = None;
    bed.with_driver(async |running| {
        let oldest = running.bundle.borrow().sequence();
        let view_of = |acknowledged| {
            let view = RotationView::clone(&running.handle.view().borrow());
            let facts = Facts { agents: vec![agent("node-1", acknowledged), agent("node-2", oldest + 9)], ..Facts::default() };
            Arc::new(RotationView { facts: Arc::new(facts), ..view })
        };
        let (shown, view) = watch::channel(view_of(oldest));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let prober = Prober {
            trust_domain: bed.config.trust_domain.clone(),
            listening: listener.local_addr().unwrap(),
            bundle: running.bundle.clone(),
            view,
            counts: ProbeCounts::default(),
            clock: bed.clock.clone(),
        };
        let kept = [(oldest, Arc::clone(&running.bundle.borrow()))].into();
        let (outcome, ()) = tokio::join!(prober.probe_as_the_furthest_behind(&kept), async {
            let (stream, _) = listener.accept().await.unwrap();
            shown.send_replace(view_of(oldest + meanwhile));
            drop(stream);
        });
        seen = outcome;
    })
    .await;
    assert!(!matches!(seen, Some(Ok(()))), "nothing shakes hands there");
    seen.is_some()
}

#[tokio::test]
async fn a_failure_by_a_bundle_that_every_agent_has_left_is_nobodys() {
    assert!(failure_counts(0).await);
    assert!(!failure_counts(1).await);
}
