//! Messages of an exact size.

use pki::{KeyAlgorithm, PrivateKey};
use prost::Message;
use prost_types::{Struct, Value, value::Kind};
use proto::istio::IstioCertificateRequest;

/// A value of DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match u8::try_from(length) {
        Ok(short) if short < 0x80 => vec![tag, short],
        Ok(byte) => vec![tag, 0x81, byte],
        Err(_) => [&[tag, 0x82], &u16::try_from(length).expect("it fits two bytes").to_be_bytes()[..]].concat(),
    };
    [head, content.to_vec()].concat()
}

/// A good request of exactly so many bytes (PKCS#10, RFC 2986): the rest is DNS names that nobody gets.
pub(super) fn csr(bytes: usize) -> Vec<u8> {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("keys can be made");
    let names = |padding: usize| {
        // Names of at most 200 bytes each.
        let lengths = std::iter::repeat_n(200, padding / 200).chain([padding % 200 + 1]);
        lengths.flat_map(|length| der(0x82, &vec![b'a'; length])).collect::<Vec<u8>>()
    };
    let of = |padding: usize| {
        let extension = der(0x30, &[der(0x06, &[0x55, 0x1d, 0x11]), der(0x04, &der(0x30, &names(padding)))].concat());
        let kind = der(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e]);
        let attribute = der(0x30, &[kind, der(0x31, &der(0x30, &extension))].concat());
        let spki = key.public_key().spki_der().to_vec();
        let info = der(0x30, &[der(0x02, &[0]), der(0x30, &[]), spki, der(0xa0, &attribute)].concat());
        let signature = [vec![0], key.sign(&info).expect("the key signs")].concat();
        let algorithm = der(0x30, &der(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]));
        der(0x30, &[info, algorithm, der(0x03, &signature)].concat())
    };
    // ECDSA signatures differ by a byte or two, so the size is met within a few tries.
    let mut padding = bytes - 600;
    for _ in 0..1000 {
        let csr = of(padding);
        if csr.len() == bytes {
            return csr;
        }
        padding = (padding + bytes).saturating_sub(csr.len());
    }
    panic!("no request has {bytes} bytes")
}

/// A request of `CreateCertificate` of exactly so many bytes, with metadata that nobody reads.
pub(super) fn create_certificate(csr: &str, bytes: usize) -> IstioCertificateRequest {
    let of = |length: usize| {
        let padding = Value { kind: Some(Kind::StringValue("a".repeat(length))) };
        let metadata = Struct { fields: [("padding".to_owned(), padding)].into() };
        IstioCertificateRequest { csr: csr.to_owned(), metadata: Some(metadata), ..IstioCertificateRequest::default() }
    };
    of_size(bytes, of)
}

/// The message whose encoding has exactly so many bytes, of a family that grows with its argument.
pub(super) fn of_size<M: Message>(bytes: usize, of: impl Fn(usize) -> M) -> M {
    let least = bytes.saturating_sub(of(0).encoded_len() + 64);
    let message = (least..).map(of).find(|message| message.encoded_len() >= bytes).expect("it grows by bytes");
    assert_eq!(message.encoded_len(), bytes);
    message
}
