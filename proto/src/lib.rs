//! What travels on the wire: Signet's own messages and services, and Envoy's, with no domain type among them.
//!
//! Conversions to and from domain types live in the `wire` module of the crate that speaks a message.

pub mod codec;
pub mod framing;
/// `Debug` of messages that carry a secret.
macro_rules! redacted {
    ($($message:ident),+) => {$(
        impl std::fmt::Debug for $message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($message), "(redacted)"))
            }
        }
    )+};
}

/// Package `signet.v1`: node attestation, sync, issuance and the admin services. The `.proto` files are the documentation.
pub mod v1 {
    #![allow(missing_docs, clippy::all, clippy::restriction, reason = "generated code")]
    #![allow(unreachable_pub, unused_qualifications, rustdoc::all, reason = "generated code")]
    tonic::include_proto!("signet.v1");

    /// The descriptors of the package, for gRPC server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("signet.v1");

    /// The version of this protocol, sent in every [`Hello`].
    pub const PROTOCOL_VERSION: u32 = 1;

    redacted!(AttestJoinTokenRequest, AttestServiceAccountRequest, CreateTokenResponse, IssueJwtSvidResponse, MakeBackupRequest);
}

/// The SPIFFE Workload API (SPIFFE Workload API section 4), which has no package.
pub mod workload {
    #![allow(missing_docs, clippy::all, clippy::restriction, reason = "generated code")]
    #![allow(unreachable_pub, unused_qualifications, rustdoc::all, reason = "generated code")]
    tonic::include_proto!("_");

    /// The descriptors of the service, for gRPC server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("spiffe.workload");

    redacted!(X509svid, Jwtsvid, ValidateJwtsvidRequest, Witsvid);
}

/// Package `istio.v1.auth`: what Istio's agents and ztunnel speak to a CA.
pub mod istio {
    #![allow(missing_docs, clippy::all, clippy::restriction, reason = "generated code")]
    #![allow(unreachable_pub, unused_qualifications, rustdoc::all, reason = "generated code")]
    tonic::include_proto!("istio.v1.auth");

    /// The descriptors of the package, for gRPC server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("istio.v1.auth");

    redacted!(CsrRequest);
}

/// Envoy's messages, as `envoy-types` generates them.
pub mod envoy {
    pub use envoy_types::pb::envoy;
    pub use envoy_types::pb::google;
}
