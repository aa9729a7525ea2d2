//! What a passphrase does: keys derived from it, and the cipher under them.

use zeroize::Zeroizing;

use super::{backend, shared};

/// A key for AES-256.
pub(crate) type CipherKey = Zeroizing<[u8; 32]>;
/// An initialisation vector: one block.
pub(crate) type CipherIv = [u8; 16];

/// The pseudo-random function of PBKDF2 (RFC 8018 appendix B.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prf {
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

/// PBKDF2 (RFC 8018 section 5.2).
pub(crate) fn pbkdf2(prf: Prf, passphrase: &[u8], salt: &[u8], iterations: std::num::NonZeroU32) -> CipherKey {
    let mut key = Zeroizing::new([0; 32]);
    shared::pbkdf2(prf, iterations, salt, passphrase, &mut *key);
    key
}

/// Why scrypt derived nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScryptFault {
    /// The parameters are none.
    Parameters,
    /// The backend has no scrypt.
    #[cfg_attr(feature = "ring", expect(dead_code, reason = "made by the other backend alone"))]
    NotInBackend,
}

/// scrypt (RFC 7914) with N = 2^`log_n`.
pub(crate) fn scrypt(passphrase: &[u8], salt: &[u8], log_n: u8, r: u32, p: u32) -> Result<CipherKey, ScryptFault> {
    backend::scrypt(passphrase, salt, log_n, r, p)
}

/// AES-256-CBC with the padding of PKCS#7 (RFC 5652 section 6.3).
pub(crate) fn encrypt_cbc(key: &CipherKey, iv: &CipherIv, plain: &[u8]) -> Vec<u8> {
    backend::encrypt_cbc(key, iv, plain)
}

/// The other way; `None` when the length or the padding is wrong, as it nearly always is under a wrong key.
pub(crate) fn decrypt_cbc(key: &CipherKey, iv: &CipherIv, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    backend::decrypt_cbc(key, iv, sealed)
}
