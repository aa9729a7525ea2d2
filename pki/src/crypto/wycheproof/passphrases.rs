//! What keys under a passphrase rest on: PBKDF2 and AES-256-CBC with padding.

use std::num::NonZeroU32;

use zeroize::Zeroizing;

use super::super::passphrase::{Prf, decrypt_cbc, encrypt_cbc, pbkdf2};
use super::unhex;

#[derive(serde::Deserialize)]
struct Group<T> {
    tests: Vec<T>,
}

#[derive(serde::Deserialize)]
struct Derivation {
    id: u32,
    password: String,
    salt: String,
    iterations: NonZeroU32,
    dk: String,
    result: String,
}

#[derive(serde::Deserialize)]
struct Encryption {
    id: u32,
    comment: String,
    key: String,
    iv: String,
    msg: String,
    ct: String,
    result: String,
}

/// Of PBKDF2 a shorter key is the beginning of a longer one (RFC 8018 section 5.2), so each vector says something of the 32 bytes
/// that are derived here.
#[test]
fn pbkdf2_derives_what_it_must() {
    for (file, prf, expected) in [
        (include_str!("../../../testdata/wycheproof/pbkdf2_hmacsha256_test.json"), Prf::HmacSha256, 60),
        (include_str!("../../../testdata/wycheproof/pbkdf2_hmacsha384_test.json"), Prf::HmacSha384, 58),
        (include_str!("../../../testdata/wycheproof/pbkdf2_hmacsha512_test.json"), Prf::HmacSha512, 58),
    ] {
        let groups: Vec<Group<Derivation>> = serde_json::from_str(file).unwrap();
        let tests: Vec<_> = groups.iter().flat_map(|group| &group.tests).collect();
        for test in &tests {
            assert_eq!(test.result, "valid");
            let key = pbkdf2(prf, &unhex(&test.password), &unhex(&test.salt), test.iterations);
            let wanted = unhex(&test.dk);
            let length = wanted.len().min(key.len());
            assert_eq!(key[..length], wanted[..length], "{prf:?} {}", test.id);
        }
        assert_eq!(tests.len(), expected, "{prf:?}");
    }
}

#[test]
fn aes_256_cbc_takes_padding_as_it_must_be_and_no_other() {
    let file = include_str!("../../../testdata/wycheproof/aes_cbc_pkcs5_test.json");
    let groups: Vec<Group<Encryption>> = serde_json::from_str(file).unwrap();
    let (mut opened, mut refused) = (0, 0);
    for test in groups.iter().flat_map(|group| &group.tests) {
        let key = Zeroizing::new(unhex(&test.key).try_into().unwrap());
        let (iv, sealed) = (unhex(&test.iv).try_into().unwrap(), unhex(&test.ct));
        let plain = decrypt_cbc(&key, &iv, &sealed);
        if test.result == "valid" {
            assert_eq!(*plain.unwrap(), unhex(&test.msg), "{} {}", test.id, test.comment);
            assert_eq!(encrypt_cbc(&key, &iv, &unhex(&test.msg)), sealed, "{} {}", test.id, test.comment);
            opened += 1;
        } else {
            assert!(plain.is_none(), "{} {}", test.id, test.comment);
            refused += 1;
        }
    }
    assert_eq!((opened, refused), (24, 48));
}
