//! Checkpoints of a CA's audit chain: what the CA says of its chain, under a key that signs nothing else.
//!
//! Each checkpoint names the one before by its digest. So whoever holds only the newest one, and took each only when it continued the
//! one held, can later tell whether a store holds the history that was told at the time.
//!
//! The signed bytes are the parts below, each preceded by its length in bytes as 64 bits big-endian, so that no two different
//! checkpoints share them: a label, the trust domain, the sequence (64 bits big-endian), the hash of that event, the time (Unix seconds,
//! 64 bits big-endian), the digest of the checkpoint before, the SHA-256 of the key's SubjectPublicKeyInfo. The digest of a checkpoint is
//! the SHA-256 of these bytes. The signature is ECDSA with P-256 and SHA-256 over them, DER (RFC 3279 section 2.2.3).

use data_encoding::{BASE64, HEXLOWER};
use identity::TrustDomain;
use serde_json::{Map, Value, json};

use crate::jwt::json;
use crate::{JsonFault, KeyError, PrivateKey, PublicKey, PublicKeyAlgorithm, Sha256Digest, Timestamp, sha256};

/// What stands for "the checkpoint before" in the first one.
pub const NO_CHECKPOINT: Sha256Digest = [0; 32];

/// More than any checkpoint as a document, in bytes.
pub const MAX_CHECKPOINT_BYTES: usize = 4096;

/// No other signature of Signet is over bytes that begin so.
const LABEL: &[u8] = b"signet audit checkpoint v1";

/// The member that tells a document of this kind from others; its value is the version.
const KIND: &str = "signet_audit_checkpoint";
const VERSION: u64 = 1;

/// What a CA says of its audit chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose chain.
    pub trust_domain: TrustDomain,
    /// The sequence of the last event that it covers, from 1.
    pub sequence: u64,
    /// The hash of that event.
    pub head: Sha256Digest,
    /// When it was made, by the CA's clock.
    pub time: Timestamp,
    /// The digest of the checkpoint before, or [`NO_CHECKPOINT`].
    pub previous: Sha256Digest,
}

impl Checkpoint {
    fn signed_bytes(&self, key: &Sha256Digest) -> Vec<u8> {
        let Self { trust_domain, sequence, head, time, previous } = self;
        let (sequence, time) = (sequence.to_be_bytes(), time.unix_seconds().to_be_bytes());
        let parts: [&[u8]; 7] = [LABEL, trust_domain.as_str().as_bytes(), &sequence, head, &time, previous, key];
        let mut bytes = Vec::new();
        for part in parts {
            let length = u64::try_from(part.len()).expect("no buffer is longer than 64 bits can say");
            bytes.extend(length.to_be_bytes());
            bytes.extend(part);
        }
        bytes
    }
}

/// Why something is no checkpoint that counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is no JSON document.
    #[error(transparent)]
    Json(#[from] JsonFault),
    /// It is a document of another kind, or of a version that this build does not know.
    #[error("it is no audit checkpoint of version {VERSION}")]
    Kind,
    /// A part is missing, or is not what it should be.
    #[error("its part {0:?} is missing or not what it should be")]
    Part(&'static str),
    /// The key is of another kind than those that checkpoints are signed with.
    #[error("checkpoints are signed with an ECDSA P-256 key, this one is {found}")]
    Algorithm {
        /// What kind it is.
        found: PublicKeyAlgorithm,
    },
    /// The signature is not by the key over what it says.
    #[error("its signature does not hold: what it says was changed, or it was made up")]
    Signature,
}

/// The key that signs checkpoints.
#[derive(Debug)]
pub struct CheckpointKey(PrivateKey);

impl CheckpointKey {
    /// Takes an ECDSA P-256 key.
    ///
    /// # Errors
    /// [`CheckpointError::Algorithm`] for any other.
    pub fn new(key: PrivateKey) -> Result<Self, CheckpointError> {
        check_algorithm(key.public_key())?;
        Ok(Self(key))
    }

    /// Its name: the SHA-256 of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn id(&self) -> Sha256Digest {
        self.0.public_key().fingerprint()
    }

    /// Signs.
    ///
    /// # Errors
    /// [`KeyError`] when the backend fails.
    pub fn sign(&self, checkpoint: Checkpoint) -> Result<SignedCheckpoint, KeyError> {
        let public_key = self.0.public_key().clone();
        let bytes = checkpoint.signed_bytes(&public_key.fingerprint());
        let signature = self.0.sign(&bytes)?;
        Ok(SignedCheckpoint { checkpoint, digest: sha256(&bytes), public_key, signature })
    }
}

/// A checkpoint whose signature holds under the key that it names. Whose key that is, is for the reader to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    digest: Sha256Digest,
    public_key: PublicKey,
    signature: Vec<u8>,
}

impl SignedCheckpoint {
    /// Takes the parts of one, when the signature holds.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn verified(checkpoint: Checkpoint, public_key_spki: &[u8], signature: Vec<u8>) -> Result<Self, CheckpointError> {
        let public_key = PublicKey::from_spki_der(public_key_spki).map_err(|_| CheckpointError::Part("public_key"))?;
        check_algorithm(&public_key)?;
        let bytes = checkpoint.signed_bytes(&public_key.fingerprint());
        public_key.verify(&bytes, &signature).map_err(|_| CheckpointError::Signature)?;
        Ok(Self { checkpoint, digest: sha256(&bytes), public_key, signature })
    }

    /// What it says.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// What the next one names it by.
    #[must_use]
    pub fn digest(&self) -> &Sha256Digest {
        &self.digest
    }

    /// The key that signed it.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The name of that key: the SHA-256 of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn key_id(&self) -> Sha256Digest {
        self.public_key.fingerprint()
    }

    /// The signature, DER.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// As a document, on one line: what agents store and auditors collect.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Checkpoint { trust_domain, sequence, head, time, previous } = &self.checkpoint;
        json!({
            KIND: VERSION,
            "trust_domain": trust_domain.as_str(),
            "sequence": sequence,
            "head": HEXLOWER.encode(head),
            "time": time.unix_seconds(),
            "previous": HEXLOWER.encode(previous),
            "public_key": BASE64.encode(self.public_key.spki_der()),
            "signature": BASE64.encode(&self.signature),
        })
        .to_string()
    }

    /// Reads a document. Members that it does not know are passed over; those that it knows are all there and well-formed, and the
    /// signature holds.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let document = json::object(bytes)?;
        if document.get(KIND).and_then(Value::as_u64) != Some(VERSION) {
            return Err(CheckpointError::Kind);
        }
        let trust_domain = TrustDomain::parse(text(&document, "trust_domain")?);
        let checkpoint = Checkpoint {
            trust_domain: trust_domain.map_err(|_| CheckpointError::Part("trust_domain"))?,
            sequence: number(&document, "sequence")?,
            head: digest(&document, "head")?,
            time: Timestamp::from_unix_seconds(number(&document, "time")?),
            previous: digest(&document, "previous")?,
        };
        let signature = base64(&document, "signature")?;
        Self::verified(checkpoint, &base64(&document, "public_key")?, signature)
    }
}

fn check_algorithm(key: &PublicKey) -> Result<(), CheckpointError> {
    match key.algorithm() {
        PublicKeyAlgorithm::EcdsaP256 => Ok(()),
        found @ (PublicKeyAlgorithm::EcdsaP384 | PublicKeyAlgorithm::Ed25519 | PublicKeyAlgorithm::Rsa { .. }) => {
            Err(CheckpointError::Algorithm { found })
        }
    }
}

fn text<'d>(document: &'d Map<String, Value>, name: &'static str) -> Result<&'d str, CheckpointError> {
    document.get(name).and_then(Value::as_str).ok_or(CheckpointError::Part(name))
}

fn number(document: &Map<String, Value>, name: &'static str) -> Result<u64, CheckpointError> {
    document.get(name).and_then(Value::as_u64).ok_or(CheckpointError::Part(name))
}

fn base64(document: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, CheckpointError> {
    BASE64.decode(text(document, name)?.as_bytes()).map_err(|_| CheckpointError::Part(name))
}

fn digest(document: &Map<String, Value>, name: &'static str) -> Result<Sha256Digest, CheckpointError> {
    let bytes = HEXLOWER.decode(text(document, name)?.as_bytes()).map_err(|_| CheckpointError::Part(name))?;
    bytes.try_into().map_err(|_| CheckpointError::Part(name))
}

#[cfg(test)]
mod tests;
