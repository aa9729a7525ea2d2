//! What ring lacks for keys under a passphrase: a CBC mode, which is what every reader of PKCS#8 knows, and scrypt. Part of the
//! backend `ring` alone.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use zeroize::Zeroizing;

use super::passphrase::{CipherIv, CipherKey, ScryptFault};

pub(super) fn encrypt_cbc(key: &CipherKey, iv: &CipherIv, plain: &[u8]) -> Vec<u8> {
    cbc::Encryptor::<aes::Aes256>::new((&**key).into(), iv.into()).encrypt_padded_vec::<Pkcs7>(plain)
}

pub(super) fn decrypt_cbc(key: &CipherKey, iv: &CipherIv, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let cipher = cbc::Decryptor::<aes::Aes256>::new((&**key).into(), iv.into());
    let length = cipher.decrypt_padded::<Pkcs7>(&mut buffer).ok()?.len();
    buffer.truncate(length);
    Some(buffer)
}

pub(super) fn scrypt(passphrase: &[u8], salt: &[u8], log_n: u8, r: u32, p: u32) -> Result<CipherKey, ScryptFault> {
    let mut key = Zeroizing::new([0; 32]);
    let parameters = scrypt::Params::new(log_n, r, p).map_err(|_| ScryptFault::Parameters)?;
    scrypt::scrypt(passphrase, salt, &parameters, &mut *key).map_err(|_| ScryptFault::Parameters)?;
    Ok(key)
}
