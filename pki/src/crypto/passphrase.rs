//! What a passphrase does: keys derived from it, and the cipher under them. The rest of the crypto backend has no CBC mode, which is what every
//! reader of PKCS#8 knows, and no scrypt.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use zeroize::Zeroizing;

use super::backend;

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
    backend::pbkdf2(prf, iterations, salt, passphrase, &mut *key);
    key
}

/// scrypt (RFC 7914) with N = 2^`log_n`; `None` when the parameters are no parameters.
pub(crate) fn scrypt(passphrase: &[u8], salt: &[u8], log_n: u8, r: u32, p: u32) -> Option<CipherKey> {
    let mut key = Zeroizing::new([0; 32]);
    let parameters = scrypt::Params::new(log_n, r, p).ok()?;
    scrypt::scrypt(passphrase, salt, &parameters, &mut *key).ok()?;
    Some(key)
}

/// AES-256-CBC with the padding of PKCS#7 (RFC 5652 section 6.3).
pub(crate) fn encrypt_cbc(key: &CipherKey, iv: &CipherIv, plain: &[u8]) -> Vec<u8> {
    cbc::Encryptor::<aes::Aes256>::new((&**key).into(), iv.into()).encrypt_padded_vec::<Pkcs7>(plain)
}

/// The other way; `None` when the length or the padding is wrong, as it nearly always is under a wrong key.
pub(crate) fn decrypt_cbc(key: &CipherKey, iv: &CipherIv, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let cipher = cbc::Decryptor::<aes::Aes256>::new((&**key).into(), iv.into());
    let length = cipher.decrypt_padded::<Pkcs7>(&mut buffer).ok()?.len();
    buffer.truncate(length);
    Some(buffer)
}
