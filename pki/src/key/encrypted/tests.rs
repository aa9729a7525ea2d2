use super::*;
use crate::test_pki::replace;
use crate::{KeyAlgorithm, PrivateKey, pem};

const PLAIN: &[u8] = include_bytes!("../../../testdata/p256-pkcs8.pem");
// Written by `openssl pkcs8 -topk8`, each under "correct horse".
const PBKDF2_SHA256: &[u8] = include_bytes!("../../../testdata/p256-pbes2-pbkdf2.pem");
const PBKDF2_SHA512: &[u8] = include_bytes!("../../../testdata/p256-pbes2-pbkdf2-sha512.pem");
const WITH_SCRYPT: &[u8] = include_bytes!("../../../testdata/p256-pbes2-scrypt.pem");
const RSA: &[u8] = include_bytes!("../../../testdata/rsa2048-pbes2.pem");
const AES_128: &[u8] = include_bytes!("../../../testdata/p256-pbes2-aes128.pem");
const PRF_SHA1: &[u8] = include_bytes!("../../../testdata/p256-pbes2-sha1.pem");
const LEGACY: &[u8] = include_bytes!("../../../testdata/p256-encrypted-sec1.pem");

fn under(passphrase: &str) -> KeyProtection {
    KeyProtection::Passphrase(Passphrase::new(Zeroizing::new(passphrase.as_bytes().to_vec())).unwrap())
}

fn read(pem: &[u8]) -> Result<PrivateKey, KeyError> {
    PrivateKey::from_protected_pem(pem, &under("correct horse"))
}

/// A file of OpenSSL's with one part of its encoding replaced.
fn spoiled(pem: &[u8], from: &[u8], to: &[u8]) -> Result<PrivateKey, KeyError> {
    let block = &pem::blocks(pem).unwrap()[0];
    read(pem::encode("ENCRYPTED PRIVATE KEY", &replace(&block.der, from, to)).as_bytes())
}

fn refused_encryption(outcome: Result<PrivateKey, KeyError>, told: &str) {
    match outcome {
        Err(KeyError::Encryption { what }) => assert!(what.contains(told), "{told:?} is not in {what:?}"),
        other => panic!("{told}: {other:?}"),
    }
}

#[test]
fn what_openssl_wrote_is_read() {
    let plain = PrivateKey::from_pem(PLAIN).unwrap();
    for pem in [PBKDF2_SHA256, PBKDF2_SHA512] {
        assert_eq!(*read(pem).unwrap().pkcs8_der(), *plain.pkcs8_der());
    }
    assert!(read(RSA).is_ok());
}

#[test]
fn scrypt_is_read_where_the_backend_has_it_and_refused_with_the_way_out_elsewhere() {
    let plain = PrivateKey::from_pem(PLAIN).unwrap();
    let outcome = read(WITH_SCRYPT);
    if cfg!(feature = "ring") {
        assert_eq!(*outcome.unwrap().pkcs8_der(), *plain.pkcs8_der());
    } else {
        let refused = outcome.unwrap_err();
        assert_eq!(refused, KeyError::ScryptNotInBackend);
        assert!(refused.to_string().contains("openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256"), "{refused}");
    }
}

/// What is written is the same whichever backend writes it.
#[test]
fn the_encryption_of_a_key_is_the_same_bytes_under_either_backend() {
    let key = PrivateKey::from_pem(PLAIN).unwrap();
    let written = key.to_protected_pem(&under("correct horse"), &[7; KEY_ENCRYPTION_RANDOM_BYTES]);
    let digest = data_encoding::HEXLOWER.encode(&crate::sha256(written.as_bytes()));
    assert_eq!(digest, "5e4f8d9fc0f2914ecad6b988f4170a57ba11783b00a5a28cac06c7fe64611de4");
}

#[test]
fn what_is_written_is_read_again_and_never_the_same_twice() {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP384).unwrap();
    let protection = under("pass phrase");
    let [one, two] = [[1; 32], [2; 32]].map(|random| key.to_protected_pem(&protection, &random));
    assert_ne!(*one, *two);
    assert!(one.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    for pem in [one, two] {
        let again = PrivateKey::from_protected_pem(pem.as_bytes(), &protection).unwrap();
        assert_eq!(*again.pkcs8_der(), *key.pkcs8_der());
        for wrong in ["pass phrasE", "pass phrase ", "p"] {
            let refused = PrivateKey::from_protected_pem(pem.as_bytes(), &under(wrong));
            assert_eq!(refused.unwrap_err(), KeyError::WrongPassphrase);
        }
    }
    assert_eq!(*key.to_protected_pem(&KeyProtection::Plain, &[0; 32]), *key.to_pkcs8_pem());
}

#[test]
fn a_key_that_is_not_protected_as_its_place_says_is_refused() {
    assert_eq!(PrivateKey::from_pem(PBKDF2_SHA256).unwrap_err(), KeyError::Encrypted);
    assert!(PrivateKey::from_pem(PLAIN).is_ok());
    assert_eq!(read(PLAIN).unwrap_err(), KeyError::NotEncrypted);
    assert_eq!(PrivateKey::from_pem(LEGACY).unwrap_err(), KeyError::LegacyEncryption);
    assert_eq!(read(LEGACY).unwrap_err(), KeyError::LegacyEncryption);
}

#[test]
fn a_damaged_key_is_told_like_a_wrong_passphrase() {
    let block = &pem::blocks(PBKDF2_SHA512).unwrap()[0];
    let last = block.der.len() - 1;
    for at in [last, last - 20] {
        let mut der = block.der.to_vec();
        der[at] ^= 1;
        let refused = read(pem::encode("ENCRYPTED PRIVATE KEY", &der).as_bytes());
        assert_eq!(refused.unwrap_err(), KeyError::WrongPassphrase);
    }
}

#[test]
fn other_ciphers_functions_and_schemes_are_refused_by_name() {
    refused_encryption(read(AES_128), "the cipher is 2.16.840.1.101.3.4.1.2");
    refused_encryption(read(PRF_SHA1), "HMAC-SHA-1");
    refused_encryption(spoiled(PBKDF2_SHA512, PBES2, &[&PBES2[..8], &[0x03]].concat()), "the scheme is 1.2.840.113549.1.5.3");
    refused_encryption(
        spoiled(PBKDF2_SHA512, HMAC_SHA512, &[&HMAC_SHA512[..7], &[0x08]].concat()),
        "the PRF is 1.2.840.113549.2.8",
    );
    refused_encryption(spoiled(PBKDF2_SHA512, PBKDF2, &[&PBKDF2[..8], &[0x0f]].concat()), "the key derivation is");
}

#[test]
fn a_file_cannot_ask_for_hours_of_work_or_gigabytes() {
    let number = |value: u64| {
        let bytes = value.to_be_bytes();
        let significant = &bytes[usize::try_from(value.leading_zeros() / 8).unwrap().min(7)..];
        let sign: &[u8] = if significant[0] >= 0x80 { &[0] } else { &[] };
        der::encode(INTEGER, &[sign, significant]).to_vec()
    };
    let identifier = |oid: &[u8], parts: &[&[u8]]| {
        let parameters = der::encode(SEQUENCE, parts);
        [der::encode(OBJECT_IDENTIFIER, &[oid]).to_vec(), parameters.to_vec()].concat()
    };
    let passphrase = Passphrase::new(Zeroizing::new(b"p".to_vec())).unwrap();
    let salt = der::encode(OCTET_STRING, &[&[7; 16]]);
    let prf = der::encode(SEQUENCE, &[&der::encode(OBJECT_IDENTIFIER, &[HMAC_SHA256]), &der::encode(NULL, &[])]);
    let with_pbkdf2 = |count: u64, more: &[u8]| derive(&identifier(PBKDF2, &[&salt, &number(count), more, &prf]), &passphrase);
    assert!(with_pbkdf2(1, &[]).is_ok() && with_pbkdf2(1, &number(32)).is_ok());
    for count in [0, 10_000_001, u64::from(u32::MAX) + 2, u64::MAX] {
        assert!(matches!(with_pbkdf2(count, &[]), Err(KeyError::Encryption { .. })), "{count}");
    }
    assert!(with_pbkdf2(1, &number(16)).is_err());
    let with_scrypt = |n, r, p| derive(&identifier(SCRYPT, &[&salt, &number(n), &number(r), &number(p)]), &passphrase);
    if cfg!(feature = "ring") {
        assert!(with_scrypt(16, 8, 1).is_ok());
    } else {
        assert_eq!(with_scrypt(16, 8, 1), Err(KeyError::ScryptNotInBackend));
    }
    for (n, r, p) in [
        (0, 8, 1),
        (1, 8, 1),
        (15, 8, 1),
        (16, 0, 1),
        (16, 8, 0),
        (1 << 19, 8, 1),
        (1 << 14, 1 << 10, 1),
        (1 << 14, 8, 1 << 20),
        (1 << 62, 1 << 62, 1),
        (u64::MAX, 8, 1),
    ] {
        let refused = with_scrypt(n, r, p).unwrap_err();
        // Without scrypt nobody finds out that its parameters are none.
        let unread = cfg!(feature = "aws-lc") && refused == KeyError::ScryptNotInBackend;
        assert!(unread || matches!(refused, KeyError::Encryption { .. }), "{n} {r} {p}");
    }
    let long_salt = der::encode(OCTET_STRING, &[&[7; 65]]);
    assert!(derive(&identifier(PBKDF2, &[&long_salt, &number(1), &prf]), &passphrase).is_err());
}

#[test]
fn a_passphrase_is_one_line_and_shows_nothing() {
    let new = |bytes: &[u8]| Passphrase::new(Zeroizing::new(bytes.to_vec()));
    for content in [&b"correct horse"[..], b"correct horse\n", b"correct horse\r\n"] {
        let passphrase = new(content).unwrap();
        assert_eq!(*passphrase.0, b"correct horse");
        assert_eq!(
            format!("{:?} {:?}", passphrase, KeyProtection::Passphrase(passphrase.clone())),
            "Passphrase(..) Passphrase(Passphrase(..))"
        );
    }
    assert!(new("schl\u{fc}ssel".as_bytes()).is_ok());
    assert_eq!(new(b"").unwrap_err(), PassphraseError::Length { found: 0 });
    assert_eq!(new(b"\n").unwrap_err(), PassphraseError::Length { found: 0 });
    assert!(new(&[b'a'; 1024]).is_ok());
    assert_eq!(new(&[b'a'; 1025]).unwrap_err(), PassphraseError::Length { found: 1025 });
    for content in [&b"a\nb"[..], b"a\n\n", b"a\0", b"a\tb"] {
        assert_eq!(new(content).unwrap_err(), PassphraseError::ControlCharacter);
    }
}
