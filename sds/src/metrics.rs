//! Metrics of the service: `docs/metrics.md`, section SDS.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::stream::{Alarm, Event, UnansweredReason};

/// Counters of all connections together; clone freely. The default counts and is registered nowhere.
#[derive(Clone, Debug, Default)]
pub struct SdsMetrics {
    pushes: Family<Pushed, Counter>,
    removals: Counter,
    acks: Counter,
    nacks: Counter,
    stale_nonces: Counter,
    unanswered_names: Family<Unanswered, Counter>,
    alarms: Family<Alarmed, Counter>,
    open_streams: Gauge,
}

impl SdsMetrics {
    /// Registers the metrics below `<prefix of the registry>_sds_`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for resource in [PushedResource::Certificate, PushedResource::ValidationContext] {
            drop(metrics.pushes.get_or_create(&Pushed { resource }));
        }
        for alarm in [AlarmKind::HeldBack, AlarmKind::Rejected, AlarmKind::RejectedFirst, AlarmKind::RejectedAgain] {
            drop(metrics.alarms.get_or_create(&Alarmed { alarm }));
        }
        for reason in [
            UnansweredKind::NoIdentity,
            UnansweredKind::NotTheCallers,
            UnansweredKind::HeldBack,
            UnansweredKind::NotYet,
            UnansweredKind::Revoked,
            UnansweredKind::FileRefused,
        ] {
            drop(metrics.unanswered_names.get_or_create(&Unanswered { reason }));
        }
        let sds = registry.sub_registry_with_prefix("sds");
        sds.register("pushes", "Secrets sent", metrics.pushes.clone());
        sds.register("removals", "Names told removed on incremental streams", metrics.removals.clone());
        sds.register("acks", "Responses that a peer accepted", metrics.acks.clone());
        sds.register("nacks", "Responses that a peer rejected", metrics.nacks.clone());
        sds.register("stale_nonces", "Requests ignored since a newer response had overtaken them", metrics.stale_nonces.clone());
        sds.register("unanswered_names", "Names asked for that had no answer at the time", metrics.unanswered_names.clone());
        sds.register("alarms", "Secrets held back, and rejections by a peer", metrics.alarms.clone());
        sds.register("open_streams", "Streams open now", metrics.open_streams.clone());
        metrics
    }

    pub(crate) fn opened(&self) {
        self.open_streams.inc();
    }

    pub(crate) fn closed(&self) {
        self.open_streams.dec();
    }

    pub(crate) fn count(&self, event: &Event) {
        match event {
            Event::Pushed { certificates, validation_contexts, removed, stream: _, version: _ } => {
                self.sent(*certificates, *validation_contexts);
                self.removals.inc_by(u64::try_from(*removed).unwrap_or(u64::MAX));
            }
            Event::Fetched { certificates, validation_contexts, version: _ } => self.sent(*certificates, *validation_contexts),
            Event::Acked { .. } => drop(self.acks.inc()),
            Event::Nacked { .. } => drop(self.nacks.inc()),
            Event::StaleNonce { .. } => drop(self.stale_nonces.inc()),
            Event::Unanswered { reason, .. } => {
                let reason = match reason {
                    UnansweredReason::NoIdentity => UnansweredKind::NoIdentity,
                    UnansweredReason::NotTheCallers => UnansweredKind::NotTheCallers,
                    UnansweredReason::HeldBack => UnansweredKind::HeldBack,
                    UnansweredReason::NotYet => UnansweredKind::NotYet,
                    UnansweredReason::Revoked => UnansweredKind::Revoked,
                    UnansweredReason::FileRefused => UnansweredKind::FileRefused,
                };
                self.unanswered_names.get_or_create(&Unanswered { reason }).inc();
            }
            Event::Alarm(alarm) => {
                let alarm = match alarm {
                    Alarm::HeldBack { .. } => AlarmKind::HeldBack,
                    Alarm::Rejected => AlarmKind::Rejected,
                    Alarm::RejectedFirst => AlarmKind::RejectedFirst,
                    Alarm::RejectedAgain { .. } => AlarmKind::RejectedAgain,
                };
                self.alarms.get_or_create(&Alarmed { alarm }).inc();
            }
        }
    }
}

impl SdsMetrics {
    fn sent(&self, certificates: usize, validation_contexts: usize) {
        for (resource, number) in
            [(PushedResource::Certificate, certificates), (PushedResource::ValidationContext, validation_contexts)]
        {
            self.pushes.get_or_create(&Pushed { resource }).inc_by(u64::try_from(number).unwrap_or(u64::MAX));
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pushed {
    resource: PushedResource,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum PushedResource {
    Certificate,
    ValidationContext,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Unanswered {
    reason: UnansweredKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum UnansweredKind {
    NoIdentity,
    NotTheCallers,
    HeldBack,
    NotYet,
    Revoked,
    FileRefused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Alarmed {
    alarm: AlarmKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum AlarmKind {
    HeldBack,
    Rejected,
    RejectedFirst,
    RejectedAgain,
}

/// Label values as `docs/metrics.md` lists them: the derive would write the variants' names.
macro_rules! label_values {
    ($type:ident { $($variant:ident => $text:literal),+ $(,)? }) => {
        impl EncodeLabelValue for $type {
            fn encode(
                &self,
                encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
            ) -> Result<(), std::fmt::Error> {
                use std::fmt::Write;
                encoder.write_str(match self {
                    $(Self::$variant => $text,)+
                })
            }
        }
    };
}

label_values!(PushedResource { Certificate => "certificate", ValidationContext => "validation_context" });
label_values!(UnansweredKind { NoIdentity => "no_identity", NotTheCallers => "not_the_callers", HeldBack => "held_back", NotYet => "not_yet", Revoked => "revoked", FileRefused => "file_refused" });
label_values!(AlarmKind {
    HeldBack => "held_back",
    Rejected => "rejected",
    RejectedFirst => "rejected_first",
    RejectedAgain => "rejected_again",
});
