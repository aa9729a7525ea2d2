//! Private keys under a passphrase: EncryptedPrivateKeyInfo (RFC 5958 section 3) by PBES2 (RFC 8018 section 6.2).
//!
//! Written with PBKDF2-HMAC-SHA-256 and AES-256-CBC, which every reader of PKCS#8 knows. Read with PBKDF2 over SHA-2 or scrypt, and
//! AES-256-CBC (scrypt where the crypto backend has it), within bounds: whoever replaces a key file must not be able to make its reader work for hours.

use std::fmt;
use std::num::NonZeroU32;

use zeroize::Zeroizing;

use super::KeyError;
use crate::crypto::passphrase::{CipherIv, CipherKey, Prf, ScryptFault, decrypt_cbc, encrypt_cbc, pbkdf2, scrypt};
use crate::der::{self, INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE};

/// Random bytes that an encryption takes: a salt and an initialisation vector.
pub(crate) const KEY_ENCRYPTION_RANDOM_BYTES: usize = 32;

/// Iterations of PBKDF2 when a key is written.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");
/// The most iterations that are done for a key that is read: seconds.
const MAX_ITERATIONS: u32 = 10_000_000;
/// The most memory and work of scrypt for a key that is read: 128 N r bytes, p times.
const MAX_SCRYPT_BYTES: u64 = 256 << 20;
const MAX_SCRYPT_WORK: u64 = 1 << 30;
const MAX_SALT_BYTES: usize = 64;
/// An RSA key of 4096 bits with room.
const MAX_SEALED_BYTES: usize = 16 * 1024;

const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
const SCRYPT: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x04, 0x0b];
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09];
const HMAC_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x0a];
const HMAC_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x0b];
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];

/// What private keys are encrypted with. `Debug` shows nothing of it, and it is wiped on drop.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// Why bytes are no passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// Empty or over 1024 bytes.
    #[error("the passphrase has {found} bytes, 1 to {} are allowed", Passphrase::MAX_BYTES)]
    Length {
        /// The length met, in bytes.
        found: usize,
    },
    /// A line break or another control character, with which other tools would read another passphrase.
    #[error("the passphrase holds a control character; other tools would read it up to there")]
    ControlCharacter,
}

impl Passphrase {
    /// The most bytes.
    pub const MAX_BYTES: usize = 1024;
    /// The most bytes of a file that holds one, its line end included.
    pub const MAX_FILE_BYTES: usize = Self::MAX_BYTES + 2;

    /// Takes the content of a passphrase file; one line end after it is not part of it.
    ///
    /// # Errors
    /// [`PassphraseError`].
    pub fn new(content: Zeroizing<Vec<u8>>) -> Result<Self, PassphraseError> {
        let mut bytes = content;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.is_empty() || bytes.len() > Self::MAX_BYTES {
            return Err(PassphraseError::Length { found: bytes.len() });
        }
        if bytes.iter().any(u8::is_ascii_control) {
            return Err(PassphraseError::ControlCharacter);
        }
        Ok(Self(bytes))
    }

    /// What keys are derived from.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// How private keys of one place lie on disk.
#[derive(Clone, Debug, Default)]
pub enum KeyProtection {
    /// As they are, guarded by the modes of their files.
    #[default]
    Plain,
    /// Under a passphrase; a key that is not is refused.
    Passphrase(Passphrase),
}

/// Opens EncryptedPrivateKeyInfo: the DER of PrivateKeyInfo.
pub(super) fn open(der: &[u8], passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    der::check(der)?;
    let mut info = Reader::new(Reader::only(der, SEQUENCE)?);
    let mut scheme = Reader::new(info.expect(SEQUENCE)?);
    let sealed = info.expect(OCTET_STRING)?;
    info.finish()?;
    expect_oid(&mut scheme, PBES2, "the scheme")?;
    let mut parameters = Reader::new(scheme.expect(SEQUENCE)?);
    scheme.finish()?;
    let derivation = parameters.expect(SEQUENCE)?;
    let mut cipher = Reader::new(parameters.expect(SEQUENCE)?);
    parameters.finish()?;
    expect_oid(&mut cipher, AES_256_CBC, "the cipher")?;
    let iv =
        CipherIv::try_from(cipher.expect(OCTET_STRING)?).map_err(|_| unread("the initialisation vector has not 16 bytes"))?;
    cipher.finish()?;
    if sealed.len() > MAX_SEALED_BYTES {
        return Err(unread("it is longer than any key"));
    }
    let key = derive(derivation, passphrase)?;
    decrypt_cbc(&key, &iv, sealed).ok_or(KeyError::WrongPassphrase)
}

/// Makes EncryptedPrivateKeyInfo of PrivateKeyInfo.
pub(super) fn seal(pkcs8: &[u8], passphrase: &Passphrase, random: &[u8; KEY_ENCRYPTION_RANDOM_BYTES]) -> Zeroizing<Vec<u8>> {
    let (salt, iv) = random.split_at(16);
    let iv = CipherIv::try_from(iv).expect("half of 32 bytes is one block");
    let key = pbkdf2(Prf::HmacSha256, &passphrase.0, salt, ITERATIONS);
    let sealed = encrypt_cbc(&key, &iv, pkcs8);
    let identifier =
        |oid: &[u8], parameters: &[u8]| der::encode(SEQUENCE, &[&der::encode(OBJECT_IDENTIFIER, &[oid]), parameters]);
    let derivation = der::encode(
        SEQUENCE,
        &[
            &der::encode(OCTET_STRING, &[salt]),
            // The number is below 2^23, so three bytes hold it without a sign byte before them.
            &der::encode(INTEGER, &[ITERATIONS.get().to_be_bytes().get(1..).unwrap_or_default()]),
            &identifier(HMAC_SHA256, &der::encode(NULL, &[])),
        ],
    );
    let parameters =
        der::encode(SEQUENCE, &[&identifier(PBKDF2, &derivation), &identifier(AES_256_CBC, &der::encode(OCTET_STRING, &[&iv]))]);
    der::encode(SEQUENCE, &[&identifier(PBES2, &parameters), &der::encode(OCTET_STRING, &[&sealed])])
}

fn derive(identifier: &[u8], passphrase: &Passphrase) -> Result<CipherKey, KeyError> {
    let mut identifier = Reader::new(identifier);
    let algorithm = identifier.expect(OBJECT_IDENTIFIER)?;
    let mut parameters = Reader::new(identifier.expect(SEQUENCE)?);
    identifier.finish()?;
    let salt = parameters.expect(OCTET_STRING)?;
    if salt.len() > MAX_SALT_BYTES {
        return Err(unread("the salt is too long"));
    }
    match algorithm {
        PBKDF2 => {
            let iterations = small_number(&mut parameters)?.and_then(|count| u32::try_from(count).ok()).and_then(NonZeroU32::new);
            let iterations = iterations.filter(|count| count.get() <= MAX_ITERATIONS);
            let iterations = iterations.ok_or_else(|| unread("the iterations are not from 1 to 10000000"))?;
            key_length(&mut parameters)?;
            // Absent means HMAC-SHA-1 (RFC 8018 appendix A.2).
            let mut function = Reader::new(parameters.optional(SEQUENCE)?.ok_or_else(|| unread("the PRF is HMAC-SHA-1"))?);
            parameters.finish()?;
            let prf = match function.expect(OBJECT_IDENTIFIER)? {
                HMAC_SHA256 => Prf::HmacSha256,
                HMAC_SHA384 => Prf::HmacSha384,
                HMAC_SHA512 => Prf::HmacSha512,
                other => return Err(unread(&format!("the PRF is {}", der::oid_text(other)))),
            };
            function.optional(NULL)?;
            function.finish()?;
            Ok(pbkdf2(prf, &passphrase.0, salt, iterations))
        }
        SCRYPT => {
            let numbers = [small_number(&mut parameters)?, small_number(&mut parameters)?, small_number(&mut parameters)?];
            key_length(&mut parameters)?;
            parameters.finish()?;
            let [Some(n), Some(r), Some(p)] = numbers else { return Err(unread("the parameters of scrypt are too large")) };
            let memory = n.checked_mul(r).and_then(|blocks| blocks.checked_mul(128));
            let memory = memory.filter(|bytes| *bytes <= MAX_SCRYPT_BYTES);
            let work = memory.and_then(|bytes| bytes.checked_mul(p)).filter(|work| *work <= MAX_SCRYPT_WORK);
            let log_n = u8::try_from(n.trailing_zeros()).ok().filter(|_| n.is_power_of_two() && n > 1);
            let (r, p) = (u32::try_from(r).ok(), u32::try_from(p).ok());
            let key = match (work, log_n, r, p) {
                (Some(_), Some(log_n), Some(r), Some(p)) => scrypt(&passphrase.0, salt, log_n, r, p),
                _ => Err(ScryptFault::Parameters),
            };
            key.map_err(|fault| match fault {
                ScryptFault::Parameters => unread("the parameters of scrypt ask for too much memory or work, or are none"),
                ScryptFault::NotInBackend => KeyError::ScryptNotInBackend,
            })
        }
        other => Err(unread(&format!("the key derivation is {}", der::oid_text(other)))),
    }
}

/// The optional length of the key: that of AES-256, when it is there.
fn key_length(parameters: &mut Reader<'_>) -> Result<(), KeyError> {
    match parameters.optional(INTEGER)? {
        None | Some([32]) => Ok(()),
        Some(_) => Err(unread("the length of the derived key is not 32 bytes")),
    }
}

/// A number below 2^64; `None` for a larger one.
fn small_number(reader: &mut Reader<'_>) -> Result<Option<u64>, KeyError> {
    let bytes = reader.unsigned_integer()?;
    Ok((bytes.len() <= 8).then(|| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))))
}

fn expect_oid(reader: &mut Reader<'_>, wanted: &[u8], what: &str) -> Result<(), KeyError> {
    match reader.expect(OBJECT_IDENTIFIER)? {
        found if found == wanted => Ok(()),
        found => Err(unread(&format!("{what} is {}", der::oid_text(found)))),
    }
}

fn unread(what: &str) -> KeyError {
    KeyError::Encryption { what: what.to_owned() }
}

#[cfg(test)]
mod tests;
