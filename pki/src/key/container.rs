//! The containers that private keys come in: PKCS#8 (RFC 5958), SEC1 (RFC 5915), PKCS#1 (RFC 8017 appendix A.1.2). Each is
//! taken apart and written again as the one PKCS#8 form that the backend and TLS take.

use rustls_pki_types::alg_id;
use zeroize::Zeroizing;

use super::public::{EC_PUBLIC_KEY, ED25519, RSA_ENCRYPTION, named_curve};
use super::{KeyError, PublicKey, PublicKeyAlgorithm};
use crate::der::{self, BIT_STRING, CONTEXT_0, CONTEXT_1, INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE};

/// A private key in PKCS#8, with the kind of its public half.
pub(super) struct Container {
    pub(super) pkcs8: Zeroizing<Vec<u8>>,
    pub(super) algorithm: PublicKeyAlgorithm,
}

/// Reads PKCS#8, version 1 or 2; attributes are dropped.
pub(super) fn from_pkcs8(der: &[u8]) -> Result<Container, KeyError> {
    der::check(der)?;
    let mut info = Reader::new(Reader::only(der, SEQUENCE)?);
    if !matches!(info.unsigned_integer()?, [] | [1]) {
        return Err(KeyError::Version { container: "PKCS#8" });
    }
    let mut identifier = Reader::new(info.expect(SEQUENCE)?);
    let algorithm = identifier.expect(OBJECT_IDENTIFIER)?;
    let key = info.expect(OCTET_STRING)?;
    match algorithm {
        EC_PUBLIC_KEY => {
            let curve = curve_parameter(&mut identifier)?;
            from_ec_private_key(key, Some(curve))
        }
        RSA_ENCRYPTION => {
            if identifier.optional(NULL)? != Some(&[]) || !identifier.is_empty() {
                return Err(KeyError::AlgorithmParameters { oid: der::oid_text(algorithm) });
            }
            from_pkcs1(key)
        }
        ED25519 => {
            if !identifier.is_empty() {
                return Err(KeyError::AlgorithmParameters { oid: der::oid_text(algorithm) });
            }
            Ok(Container { pkcs8: Zeroizing::new(der.to_vec()), algorithm: PublicKeyAlgorithm::Ed25519 })
        }
        _ => Err(KeyError::Algorithm { oid: der::oid_text(algorithm) }),
    }
}

/// Reads SEC1; the curve comes from the parameters inside.
pub(super) fn from_sec1(der: &[u8]) -> Result<Container, KeyError> {
    from_ec_private_key(der, None)
}

/// Reads PKCS#1; only keys with two primes.
pub(super) fn from_pkcs1(der: &[u8]) -> Result<Container, KeyError> {
    der::check(der)?;
    let mut key = Reader::new(Reader::only(der, SEQUENCE)?);
    if !key.unsigned_integer()?.is_empty() {
        return Err(KeyError::Version { container: "PKCS#1" });
    }
    let modulus = key.expect(INTEGER)?;
    let exponent = key.expect(INTEGER)?;
    let public = der::encode(SEQUENCE, &[&der::encode(INTEGER, &[modulus]), &der::encode(INTEGER, &[exponent])]);
    // Size, exponent and parity are judged by the same rules as a key in a certificate.
    let algorithm = PublicKey::from_bits(&alg_id::RSA_ENCRYPTION, &public)?.algorithm();
    Ok(Container { pkcs8: wrap(&alg_id::RSA_ENCRYPTION, der), algorithm })
}

/// ECPrivateKey (RFC 5915 section 3), either inside PKCS#8, which names the curve, or alone, where its parameters must.
fn from_ec_private_key(der: &[u8], outer_curve: Option<PublicKeyAlgorithm>) -> Result<Container, KeyError> {
    der::check(der)?;
    let mut key = Reader::new(Reader::only(der, SEQUENCE)?);
    if key.unsigned_integer()? != [1] {
        return Err(KeyError::Version { container: "SEC1" });
    }
    let scalar = key.expect(OCTET_STRING)?;
    let inner_curve = match key.optional(CONTEXT_0)? {
        Some(parameters) => Some(curve_parameter(&mut Reader::new(parameters))?),
        None => None,
    };
    let public = key.optional(CONTEXT_1)?.ok_or(KeyError::PublicPointMissing)?;
    key.finish()?;
    let algorithm = match (outer_curve, inner_curve) {
        (Some(outer), Some(inner)) if outer != inner => return Err(KeyError::CurveMismatch),
        (Some(curve), _) | (None, Some(curve)) => curve,
        (None, None) => return Err(KeyError::CurveNotNamed),
    };
    let mut point = Reader::new(public);
    let point_bits = point.whole_byte_bit_string()?;
    point.finish()?;
    let identifier = algorithm.key_identifier();
    PublicKey::from_bits(&identifier, point_bits)?;
    let private = der::encode(
        SEQUENCE,
        &[
            &der::encode(INTEGER, &[&[1]]),
            &der::encode(OCTET_STRING, &[scalar]),
            &der::encode(CONTEXT_1, &[&der::encode(BIT_STRING, &[&[0], point_bits])]),
        ],
    );
    Ok(Container { pkcs8: wrap(&identifier, &private), algorithm })
}

fn curve_parameter(parameters: &mut Reader<'_>) -> Result<PublicKeyAlgorithm, KeyError> {
    if parameters.is_empty() {
        return Err(KeyError::CurveNotNamed);
    }
    let value = parameters.next()?;
    if value.tag != OBJECT_IDENTIFIER || !parameters.is_empty() {
        return Err(KeyError::CurveNotNamed);
    }
    named_curve(value.content)
}

/// PKCS#8 version 1 around a key; `identifier` is the content of the AlgorithmIdentifier.
fn wrap(identifier: &[u8], key: &[u8]) -> Zeroizing<Vec<u8>> {
    der::encode(
        SEQUENCE,
        &[&der::encode(INTEGER, &[&[0]]), &der::encode(SEQUENCE, &[identifier]), &der::encode(OCTET_STRING, &[key])],
    )
}
