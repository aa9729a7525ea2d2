//! What is shown of the task: to operators, to the prober, and in metrics.

use std::path::PathBuf;
use std::sync::Arc;

use pki::Timestamp;

use super::Driver;
use crate::authority::lifecycle::Lifecycle;
use crate::rotation::materials::Materials;
use crate::rotation::{RotationView, UpstreamStanding};
use crate::upstream::metrics::UpstreamKind;

impl Driver {
    /// The view of a lifecycle of which nothing else is known yet.
    pub(crate) fn first_view(
        lifecycle: &Arc<Lifecycle>,
        materials: &Materials,
        bundle_sequence: u64,
        plugged_in: Option<PathBuf>,
        at: Timestamp,
    ) -> RotationView {
        let lifecycle = Arc::clone(lifecycle);
        let key_places = materials.key_places(&lifecycle);
        RotationView {
            lifecycle,
            rotations: Vec::new(),
            facts: Arc::default(),
            bundle_sequence,
            plugged_in,
            key_places: Arc::new(key_places),
            upstream: None,
            path: Arc::default(),
            faults: Vec::new(),
            replicas: Arc::default(),
            at,
        }
    }

    pub(super) fn show(&mut self) {
        for standing in &mut self.standings {
            standing.probes = self.parts.probes.of(standing.rotation.from.kind);
        }
        let faults = self
            .effects
            .faults()
            .map(|(_, text)| text.to_owned())
            .chain(self.fault.clone())
            .chain(self.take_up_fault.clone())
            .collect();
        let lifecycle = Arc::clone(self.journal.state());
        let signing = Arc::clone(&self.parts.outlets.authority.borrow());
        if self.path.first() != Some(signing.certificate()) {
            let above = signing.path().iter().skip(1).chain([signing.root()]).filter(|above| *above != signing.certificate());
            self.path = std::iter::once(signing.certificate()).chain(above).cloned().collect();
        }
        if !self.placed.as_ref().is_some_and(|placed| Arc::ptr_eq(placed, &lifecycle)) {
            self.key_places = Arc::new(self.parts.materials.key_places(&lifecycle));
            self.placed = Some(Arc::clone(&lifecycle));
        }
        let view = RotationView {
            lifecycle,
            rotations: self.standings.clone(),
            facts: Arc::clone(&self.facts),
            bundle_sequence: self.parts.outlets.bundle.borrow().sequence(),
            plugged_in: self.parts.plugged_in.as_ref().map(|plugged_in| plugged_in.directory.clone()),
            key_places: Arc::clone(&self.key_places),
            upstream: self.upstream_standing(),
            path: self.path.clone(),
            faults,
            replicas: Arc::clone(&self.replicas),
            at: self.now(),
        };
        self.view.send_replace(Arc::new(view));
    }

    fn upstream_standing(&self) -> Option<UpstreamStanding> {
        if self.parts.plugged_in.is_some() {
            let fault = self.take_up_fault.clone();
            return Some(UpstreamStanding { kind: UpstreamKind::Files, reached_at: None, fault });
        }
        let upstream = self.parts.materials.upstream()?;
        let seen = upstream.seen();
        let fault = upstream.refusal().or_else(|| seen.fault.clone());
        Some(UpstreamStanding { kind: upstream.kind(), reached_at: seen.reached_at, fault })
    }
}
