//! Metrics of the Workload API: `docs/metrics.md`, section "Workload API".

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tonic::{Code, Status};

/// Clone freely. The default counts and is registered nowhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkloadApiMetrics {
    answers: Family<Answered, Counter>,
    without_header: Counter,
    open_streams: Gauge,
    jwt_svids: Family<Obtained, Counter>,
    jwt_svids_held: Gauge,
}

impl WorkloadApiMetrics {
    /// Registers the metrics below `<prefix of the registry>_workload_api_`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for call in Call::ALL {
            for outcome in Outcome::ALL {
                drop(metrics.answers.get_or_create(&Answered { call, outcome }));
            }
        }
        for source in JwtSource::ALL {
            drop(metrics.jwt_svids.get_or_create(&Obtained { source }));
        }
        let api = registry.sub_registry_with_prefix("workload_api");
        api.register("answers", "Messages sent and calls refused, by call and outcome", metrics.answers.clone());
        api.register(
            "requests_without_header",
            "Requests refused for want of the security header",
            metrics.without_header.clone(),
        );
        api.register("open_streams", "Streams open now", metrics.open_streams.clone());
        api.register("jwt_svids", "JWT-SVIDs given to callers, by where they came from", metrics.jwt_svids.clone());
        api.register("jwt_svids_held", "JWT-SVIDs kept for the next caller", metrics.jwt_svids_held.clone());
        metrics
    }

    pub(super) fn without_header(&self) {
        self.without_header.inc();
    }

    pub(super) fn answered(&self, call: Call, refusal: Option<&Status>) {
        self.answers.get_or_create(&Answered { call, outcome: Outcome::of(refusal) }).inc();
    }

    pub(super) fn jwt_svid(&self, source: JwtSource) {
        self.jwt_svids.get_or_create(&Obtained { source }).inc();
    }

    pub(super) fn jwt_svids_held(&self, count: usize) {
        self.jwt_svids_held.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn stream_opened(&self) {
        self.open_streams.inc();
    }

    pub(super) fn stream_closed(&self) {
        self.open_streams.dec();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    call: Call,
    outcome: Outcome,
}

/// The calls that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Call {
    X509Svid,
    X509Bundles,
    JwtSvid,
    JwtBundles,
    ValidateJwtSvid,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Obtained {
    source: JwtSource,
}

/// Where a JWT-SVID came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum JwtSource {
    /// From the CA.
    Issued,
    /// Kept, and before its half life.
    Cached,
    /// Kept, and used past its half life since the CA did not answer.
    Kept,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Outcome {
    Served,
    Denied,
    Unavailable,
    Invalid,
}

impl Call {
    const ALL: [Self; 5] = [Self::X509Svid, Self::X509Bundles, Self::JwtSvid, Self::JwtBundles, Self::ValidateJwtSvid];

    fn as_str(self) -> &'static str {
        match self {
            Self::X509Svid => "x509_svid",
            Self::X509Bundles => "x509_bundles",
            Self::JwtSvid => "jwt_svid",
            Self::JwtBundles => "jwt_bundles",
            Self::ValidateJwtSvid => "validate_jwt_svid",
        }
    }
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Served, Self::Denied, Self::Unavailable, Self::Invalid];

    fn of(refusal: Option<&Status>) -> Self {
        match refusal.map(Status::code) {
            None => Self::Served,
            Some(Code::PermissionDenied) => Self::Denied,
            Some(Code::InvalidArgument) => Self::Invalid,
            Some(_) => Self::Unavailable,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Invalid => "invalid",
        }
    }
}

impl JwtSource {
    const ALL: [Self; 3] = [Self::Issued, Self::Cached, Self::Kept];

    fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Cached => "cached",
            Self::Kept => "kept",
        }
    }
}

impl EncodeLabelValue for JwtSource {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        std::fmt::Write::write_str(encoder, self.as_str())
    }
}

impl EncodeLabelValue for Call {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        std::fmt::Write::write_str(encoder, self.as_str())
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        std::fmt::Write::write_str(encoder, self.as_str())
    }
}
