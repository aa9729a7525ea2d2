//! `[limits]`: what one peer may take of this CA, in bytes, connections, calls and time. docs/limits.md has the table.

use std::num::NonZeroU32;
use std::time::Duration;

use runtime::config::Section;

use crate::rate::RateLimit;

/// The section, checked. Every count is at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Largest certificate request (PKCS#10, DER) in bytes; at most what is ever read, [`pki::MAX_CSR_BYTES`].
    pub csr_bytes: usize,
    /// Largest message of `istio.v1.auth` in bytes.
    pub create_certificate_bytes: usize,
    /// Largest message of `NodeAttestation` in bytes.
    pub attestation_bytes: usize,
    /// Largest message of `Node` in bytes: of a sync stream, and a batch.
    pub sync_message_bytes: usize,
    /// Most items of one `BatchIssue`.
    pub batch_items: usize,
    /// Largest header list of a call as RFC 9113 section 6.5.2 counts it: decoded, and 32 bytes for each field.
    pub header_bytes: u32,
    /// Streams at once on one connection.
    pub streams_per_connection: u32,
    /// From accept to the end of the TLS handshake.
    pub handshake_deadline: Duration,
    /// Unfinished handshakes in all.
    pub handshakes: usize,
    /// Connections of one address (IPv6: of one /64) before authentication: unfinished handshakes, and finished ones without a client
    /// certificate, together.
    pub connections_per_address: usize,
    /// Connections without a client certificate in all.
    pub anonymous_connections: usize,
    /// What the calls on one of them may hold together, in bytes: their header lists and messages, as announced.
    pub anonymous_bytes: usize,
    /// Connections of one identity, by client certificate or accepted token.
    pub connections_per_identity: usize,
    /// Certificates and JWT-SVIDs of one node.
    pub(crate) issuance: RateLimit,
    /// Attestations that one address may try.
    pub(crate) attestation: RateLimit,
    /// Issuances that are worked on at once.
    pub issuance_concurrency: usize,
    /// Issuances that wait for their turn.
    pub issuance_queue: usize,
    /// How long one of them waits at most.
    pub issuance_wait: Duration,
}

/// Reads the section. Faults go to the document.
pub(super) fn read(section: &Section<'_>) -> LimitsConfig {
    let count = |key, range: std::ops::RangeInclusive<i64>, default: usize| {
        section.integer(key, range).and_then(|count| usize::try_from(count).ok()).unwrap_or(default)
    };
    let small = |key, range: std::ops::RangeInclusive<i64>, default: u32| {
        section.integer(key, range).and_then(|count| u32::try_from(count).ok()).unwrap_or(default)
    };
    let span = |key, range: std::ops::RangeInclusive<Duration>, default: Duration| {
        let span = section.duration(key).unwrap_or(default);
        if !range.contains(&span) {
            section.fault(key, format!("not between {:?} and {:?}", range.start(), range.end()));
        }
        span
    };
    let rate = |keys: [&'static str; 2], default: NonZeroU32| {
        let read = |key, default| NonZeroU32::new(small(key, 1..=MAX_RATE, default)).unwrap_or(NonZeroU32::MIN);
        let per_minute = read(keys[0], default.get());
        // A minute's worth at once, unless something else is said.
        RateLimit { per_minute, burst: read(keys[1], per_minute.get()), keys: ("[limits]", keys) }
    };
    let config = LimitsConfig {
        csr_bytes: count("csr_bytes", 256..=MAX_CSR_BYTES, pki::MAX_CSR_BYTES),
        create_certificate_bytes: count("create_certificate_bytes", MESSAGE_BYTES, 64 * 1024),
        attestation_bytes: count("attestation_bytes", MESSAGE_BYTES, 64 * 1024),
        sync_message_bytes: count("sync_message_bytes", MESSAGE_BYTES, 1024 * 1024),
        batch_items: count("batch_items", 1..=10_000, 500),
        header_bytes: small("header_bytes", 1024..=1024 * 1024, 16 * 1024),
        streams_per_connection: small("streams_per_connection", 4..=10_000, 100),
        handshake_deadline: span("handshake_deadline", ONE_SECOND..=ONE_SECOND * 60, ONE_SECOND * 5),
        handshakes: count("handshakes", PLACES, 1024),
        connections_per_address: count("connections_per_address", PLACES, 64),
        anonymous_connections: count("anonymous_connections", PLACES, 512),
        anonymous_bytes: count("anonymous_bytes", ANONYMOUS_BYTES, 256 * 1024),
        connections_per_identity: count("connections_per_identity", 2..=100_000, 16),
        issuance: rate(["issuances_per_minute", "issuance_burst"], DEFAULT_ISSUANCES),
        attestation: rate(["attestations_per_minute", "attestation_burst"], DEFAULT_ATTESTATIONS),
        issuance_concurrency: count("issuance_concurrency", PLACES, 512),
        issuance_queue: count("issuance_queue", PLACES, 4096),
        issuance_wait: span("issuance_wait", Duration::ZERO..=ONE_SECOND * 30, ONE_SECOND * 10),
    };
    if usize::try_from(config.issuance.burst.get()).is_ok_and(|burst| burst < config.batch_items) {
        section.fault("issuance_burst", format!("less than batch_items, {}: a full batch could never pass", config.batch_items));
    }
    // Two, since an attestation by certificate has two messages.
    let attestation = config.attestation_bytes.saturating_add(MESSAGE_PREFIX).saturating_mul(2);
    let headers = usize::try_from(config.header_bytes).unwrap_or(usize::MAX);
    let largest = attestation.max(config.create_certificate_bytes.saturating_add(MESSAGE_PREFIX)).saturating_add(headers);
    if config.anonymous_bytes < largest {
        let needed = "a call with a full header list and full messages could never pass";
        section.fault("anonymous_bytes", format!("less than {largest}: {needed}"));
    }
    config
}

const ONE_SECOND: Duration = Duration::from_secs(1);
const MESSAGE_BYTES: std::ops::RangeInclusive<i64> = 1024..=64 * 1024 * 1024;
/// In bytes: gRPC puts a flag and a length before each message.
const MESSAGE_PREFIX: usize = 5;
const ANONYMOUS_BYTES: std::ops::RangeInclusive<i64> = 1024..=256 * 1024 * 1024;
const PLACES: std::ops::RangeInclusive<i64> = 1..=100_000;
const MAX_RATE: i64 = 1_000_000;
const MAX_CSR_BYTES: i64 = 16 * 1024;
const _: () = assert!(pki::MAX_CSR_BYTES == 16 * 1024, "the largest value of csr_bytes is what pki reads at all");
/// A node with a thousand entries of a minute's life renews each of them twice a minute; this is three times that.
const DEFAULT_ISSUANCES: NonZeroU32 = NonZeroU32::new(6000).expect("it is not zero");
/// A site behind one address can have hundreds of nodes, which all come back after a long outage.
const DEFAULT_ATTESTATIONS: NonZeroU32 = NonZeroU32::new(600).expect("it is not zero");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CaConfig;

    fn read(limits: &str) -> Result<LimitsConfig, String> {
        let text = format!("trust_domain = \"example.org\"\nstate_dir = \"/s\"\nlisten = \"127.0.0.1:0\"\n[limits]\n{limits}");
        CaConfig::parse("ca.toml", &text).map(|config| config.limits).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_that_the_documentation_names() {
        let config = read("").unwrap();
        let rate = |rate: RateLimit| (i64::from(rate.per_minute.get()), i64::from(rate.burst.get()));
        let whole = |count: usize| i64::try_from(count).unwrap();
        let (issuance, attestation) = (rate(config.issuance), rate(config.attestation));
        let values = [
            ("csr_bytes", whole(config.csr_bytes)),
            ("create_certificate_bytes", whole(config.create_certificate_bytes)),
            ("attestation_bytes", whole(config.attestation_bytes)),
            ("sync_message_bytes", whole(config.sync_message_bytes)),
            ("batch_items", whole(config.batch_items)),
            ("header_bytes", i64::from(config.header_bytes)),
            ("streams_per_connection", i64::from(config.streams_per_connection)),
            ("handshakes", whole(config.handshakes)),
            ("connections_per_address", whole(config.connections_per_address)),
            ("anonymous_connections", whole(config.anonymous_connections)),
            ("anonymous_bytes", whole(config.anonymous_bytes)),
            ("connections_per_identity", whole(config.connections_per_identity)),
            ("issuances_per_minute", issuance.0),
            ("issuance_burst", issuance.1),
            ("attestations_per_minute", attestation.0),
            ("attestation_burst", attestation.1),
            ("issuance_concurrency", whole(config.issuance_concurrency)),
            ("issuance_queue", whole(config.issuance_queue)),
        ];
        let page = include_str!("../../../docs/limits.md");
        for (key, value) in values {
            assert!(page.contains(&format!("\n{key} = {value} ")), "docs/limits.md does not say {key} = {value}");
            assert_eq!(read(&format!("{key} = {value}")).unwrap(), config, "{key}");
            assert!(read(&format!("{key} = 0")).is_err(), "{key} = 0");
            assert!(read(&format!("{key} = 4000000000")).is_err(), "{key} has an end");
        }
        assert!(page.contains("\nhandshake_deadline = \"5s\" ") && page.contains("\nissuance_wait = \"10s\" "));
        assert_eq!((config.handshake_deadline, config.issuance_wait), (ONE_SECOND * 5, ONE_SECOND * 10));
    }

    #[test]
    fn what_does_not_fit_is_told_by_its_key() {
        assert_eq!(read("csr_bytes = 16384").unwrap().csr_bytes, 16_384);
        for (bad, key) in [
            ("csr_bytes = 16385", "csr_bytes"),
            ("handshake_deadline = \"61s\"", "handshake_deadline"),
            ("handshake_deadline = \"0s\"", "handshake_deadline"),
            ("issuance_wait = \"31s\"", "issuance_wait"),
            ("issuances_per_minute = 499", "issuance_burst"),
            ("issuance_burst = 499", "issuance_burst"),
            ("anonymous_bytes = 147465", "anonymous_bytes"),
            ("attestation_bytes = 131072", "anonymous_bytes"),
            ("create_certificate_bytes = 262144", "anonymous_bytes"),
            ("connections_per_identiy = 3", "connections_per_identity"),
        ] {
            let told = read(bad).unwrap_err();
            assert!(told.contains(key), "{bad}: {told}");
        }
        assert_eq!(read("anonymous_bytes = 147466").unwrap().anonymous_bytes, 147_466);
        assert_eq!(read("issuances_per_minute = 60\nissuance_burst = 500").unwrap().issuance.burst.get(), 500);
        assert_eq!(read("batch_items = 60\nissuances_per_minute = 60").unwrap().issuance.burst.get(), 60);
    }
}
