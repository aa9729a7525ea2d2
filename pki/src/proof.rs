//! What a node key signs to prove itself. Both ends build the same bytes from what they saw of the connection.

use crate::{Sha256Digest, sha256};

/// The TLS exporter label (RFC 8446 section 7.5) whose output all transcripts carry: a proof is good on one connection only.
pub const ATTESTATION_EXPORTER_LABEL: &str = "EXPORTER-signet-node-attestation-v1";

/// What the node key signs when it redeems a join token. Every part has a fixed length, so no two inputs share a transcript.
#[must_use]
pub fn join_token_transcript(exporter: &[u8; 32], token_hash: &Sha256Digest, csr_der: &[u8]) -> Vec<u8> {
    [b"signet.v1 join token attestation\0", &exporter[..], token_hash, &sha256(csr_der)].concat()
}

/// What the node key signs when it shows the token of a Kubernetes service account. Every part has a fixed length.
#[must_use]
pub fn service_account_transcript(exporter: &[u8; 32], token_hash: &Sha256Digest, csr_der: &[u8]) -> Vec<u8> {
    [b"signet.v1 service account attestation\0", &exporter[..], token_hash, &sha256(csr_der)].concat()
}

/// What the node key signs when it re-attests over the CA's nonce.
#[must_use]
pub fn reattestation_transcript(exporter: &[u8; 32], nonce: &[u8; 32], csr_der: &[u8]) -> Vec<u8> {
    [b"signet.v1 node re-attestation\0", &exporter[..], nonce, &sha256(csr_der)].concat()
}

/// What both the node key and the key of an existing certificate sign when a node attests by that certificate, over the CA's
/// nonce. It names the three keys at stake: that of the CSR, the node key (SubjectPublicKeyInfo) and the certificate's.
#[must_use]
pub fn certificate_transcript(
    exporter: &[u8; 32],
    nonce: &[u8; 32],
    csr_der: &[u8],
    node_key_spki: &[u8],
    certificate_der: &[u8],
) -> Vec<u8> {
    let hashes = [sha256(csr_der), sha256(node_key_spki), sha256(certificate_der)].concat();
    [b"signet.v1 certificate attestation\0", &exporter[..], nonce, &hashes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written out from docs/protocol.md: the other end may be of another release.
    #[test]
    fn each_transcript_is_the_bytes_of_the_protocol() {
        let [exporter, second] = [[0xe5; 32], [0x4e; 32]];
        let (csr, key, certificate) = (b"csr", b"key", b"certificate");
        let bytes = |label: &str, hashes: &[&[u8]]| {
            let hashes = hashes.iter().flat_map(|part| sha256(part));
            [label.as_bytes(), &[0], &exporter, &second].concat().into_iter().chain(hashes).collect::<Vec<_>>()
        };
        assert_eq!(join_token_transcript(&exporter, &second, csr), bytes("signet.v1 join token attestation", &[csr]));
        assert_eq!(service_account_transcript(&exporter, &second, csr), bytes("signet.v1 service account attestation", &[csr]));
        assert_eq!(reattestation_transcript(&exporter, &second, csr), bytes("signet.v1 node re-attestation", &[csr]));
        assert_eq!(
            certificate_transcript(&exporter, &second, csr, key, certificate),
            bytes("signet.v1 certificate attestation", &[csr, key, certificate])
        );
    }

    #[test]
    fn each_part_counts() {
        let (one, two) = ([1; 32], [2; 32]);
        let good = certificate_transcript(&one, &one, b"a", b"b", b"c");
        for other in [
            certificate_transcript(&two, &one, b"a", b"b", b"c"),
            certificate_transcript(&one, &two, b"a", b"b", b"c"),
            certificate_transcript(&one, &one, b"x", b"b", b"c"),
            certificate_transcript(&one, &one, b"a", b"x", b"c"),
            certificate_transcript(&one, &one, b"a", b"b", b"x"),
            certificate_transcript(&one, &one, b"b", b"a", b"c"),
            reattestation_transcript(&one, &one, b"a"),
            join_token_transcript(&one, &one, b"a"),
            service_account_transcript(&one, &one, b"a"),
        ] {
            assert_ne!(other, good);
        }
    }
}
