//! What travels on the wire: Signet's own messages and services, and Envoy's, with no domain type among them.
//!
//! Conversions to and from domain types live in the `wire` module of the crate that speaks a message.

/// Package `signet.v1`: node attestation, sync, issuance and the admin services. The `.proto` files are the documentation.
pub mod v1 {
    #![allow(missing_docs, clippy::all, clippy::restriction, reason = "generated code")]
    #![allow(unreachable_pub, unused_qualifications, rustdoc::all, reason = "generated code")]
    tonic::include_proto!("signet.v1");

    /// The descriptors of the package, for gRPC server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("signet.v1");

    /// The version of this protocol, sent in every [`Hello`].
    pub const PROTOCOL_VERSION: u32 = 1;

    impl std::fmt::Debug for AttestJoinTokenRequest {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("AttestJoinTokenRequest(redacted)")
        }
    }

    impl std::fmt::Debug for CreateTokenResponse {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("CreateTokenResponse(redacted)")
        }
    }
}

/// Envoy's messages, as `envoy-types` generates them.
pub mod envoy {
    pub use envoy_types::pb::envoy;
    pub use envoy_types::pb::google;
}
