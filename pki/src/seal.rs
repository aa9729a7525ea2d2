//! Sealing: what lies on a disk is of use only to whoever has a secret beside it (AES-256-GCM, NIST SP 800-38D, under a key by
//! HKDF-SHA256, RFC 5869).

pub mod stream;

use zeroize::Zeroizing;

use crate::crypto;

/// The least bytes of a secret that seals.
pub const MIN_SEALING_SECRET_BYTES: usize = 32;

/// How much randomness one sealing takes.
pub const SEALING_RANDOM_BYTES: usize = SALT_BYTES + crypto::NONCE_BYTES;

const SALT_BYTES: usize = 32;

/// Why nothing was sealed or opened. It says no more than that: whoever feeds damaged bytes learns nothing from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The secret could be guessed.
    #[error("the secret has {found} bytes, at least {MIN_SEALING_SECRET_BYTES} are needed")]
    Secret {
        /// How many it has.
        found: usize,
    },
    /// Another secret, other associated data, or other bytes than were sealed.
    #[error("it was sealed with another secret or for another place, or was changed since")]
    Opening,
    /// More than can be sealed at once.
    #[error("it is too much to be sealed at once")]
    Sealing,
}

/// Seals `content` so that [`open`] gives it back for the same secret and the same associated data only.
///
/// The key is derived anew from each `random`, so that two sealings have neither key nor nonce in common; `random` must not be
/// used twice all the same. What is sealed by one crypto backend is opened by the other.
///
/// # Errors
/// [`SealError::Secret`], [`SealError::Sealing`].
pub fn seal(
    secret: &[u8],
    associated_data: &[u8],
    content: &[u8],
    random: [u8; SEALING_RANDOM_BYTES],
) -> Result<Vec<u8>, SealError> {
    check_secret(secret)?;
    let (salt, nonce) = random.split_at(SALT_BYTES);
    let offered = nonce_of(nonce).ok_or(SealError::Sealing)?;
    let (used, body) = crypto::seal(secret, salt, offered, associated_data, content).ok_or(SealError::Sealing)?;
    Ok([salt, &used, &body].concat())
}

/// Opens what [`seal`] made.
///
/// # Errors
/// [`SealError::Secret`], [`SealError::Opening`].
pub fn open(secret: &[u8], associated_data: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    check_secret(secret)?;
    let (salt, rest) = sealed.split_at_checked(SALT_BYTES).ok_or(SealError::Opening)?;
    let (nonce, body) = rest.split_at_checked(crypto::NONCE_BYTES).ok_or(SealError::Opening)?;
    let nonce = nonce_of(nonce).ok_or(SealError::Opening)?;
    crypto::open(secret, salt, nonce, associated_data, body).ok_or(SealError::Opening)
}

fn check_secret(secret: &[u8]) -> Result<(), SealError> {
    if secret.len() < MIN_SEALING_SECRET_BYTES { Err(SealError::Secret { found: secret.len() }) } else { Ok(()) }
}

fn nonce_of(bytes: &[u8]) -> Option<[u8; crypto::NONCE_BYTES]> {
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    fn sealed() -> Vec<u8> {
        seal(&SECRET, b"here", b"a key", [3; SEALING_RANDOM_BYTES]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_secret_in_the_same_place_only() {
        let sealed = sealed();
        assert!(!sealed.windows(5).any(|window| window == b"a key"));
        assert_eq!(open(&SECRET, b"here", &sealed).unwrap().as_slice(), b"a key");
        assert_eq!(open(&[8; 32], b"here", &sealed), Err(SealError::Opening));
        assert_eq!(open(&SECRET, b"there", &sealed), Err(SealError::Opening));
        assert_eq!(
            seal(&SECRET, b"here", b"", [4; SEALING_RANDOM_BYTES])
                .and_then(|empty| open(&SECRET, b"here", &empty))
                .unwrap()
                .len(),
            0
        );
    }

    /// Computed by the Python package `cryptography`: HKDF-SHA256 of the secret with the salt, then AES-256-GCM.
    const KNOWN: &str = "0303030303030303030303030303030303030303030303030303030303030303\
         030303030303030303030303caea79e5ecb35543214c0ec6fdca602d89abab2d4d";

    #[test]
    fn the_known_answer_opens_under_either_backend_and_one_that_takes_the_nonce_offered_makes_it() {
        let known = data_encoding::HEXLOWER.decode(KNOWN.as_bytes()).unwrap();
        assert_eq!(open(&SECRET, b"here", &known).unwrap().as_slice(), b"a key");
        // aws-lc draws a nonce of its own, behind the same salt.
        assert_eq!(sealed() == known, cfg!(feature = "ring"));
        assert_eq!(sealed()[..SALT_BYTES], known[..SALT_BYTES]);
        assert_eq!(sealed().len(), known.len());
    }

    #[test]
    fn any_bit_that_was_changed_and_any_cut_closes_it() {
        let good = sealed();
        for index in 0..good.len() {
            let mut changed = good.clone();
            changed[index] ^= 1;
            assert_eq!(open(&SECRET, b"here", &changed), Err(SealError::Opening), "byte {index}");
            assert_eq!(open(&SECRET, b"here", &good[..index]), Err(SealError::Opening), "cut at {index}");
        }
    }

    #[test]
    fn other_randomness_gives_other_bytes_throughout() {
        let (one, other) = (sealed(), seal(&SECRET, b"here", b"a key", [4; SEALING_RANDOM_BYTES]).unwrap());
        assert_ne!(one[SEALING_RANDOM_BYTES..], other[SEALING_RANDOM_BYTES..]);
    }

    #[test]
    fn a_secret_that_could_be_guessed_is_refused_and_one_byte_more_is_taken() {
        assert_eq!(seal(&SECRET[..31], b"", b"", [0; SEALING_RANDOM_BYTES]), Err(SealError::Secret { found: 31 }));
        assert_eq!(open(&SECRET[..31], b"", &sealed()), Err(SealError::Secret { found: 31 }));
        assert!(seal(&SECRET, b"", b"", [0; SEALING_RANDOM_BYTES]).is_ok());
    }
}
