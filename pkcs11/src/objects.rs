//! Keys as objects of a token: how they are made, what they must be, how they are found and destroyed.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use data_encoding::HEXLOWER;
use pki::{KeyAlgorithm, KeyError, PublicKey};

use crate::TokenError;
use crate::connection::Connection;

/// `ECParameters` of the two curves by name (RFC 5480 section 2.1.1.1).
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// The tag of an OCTET STRING, in which CKA_EC_POINT holds the point.
const OCTET_STRING: u8 = 0x04;

/// What must be true of a private key here, and what must not.
const MUST: [AttributeType; 5] = [
    AttributeType::Sensitive,
    AttributeType::AlwaysSensitive,
    AttributeType::NeverExtractable,
    AttributeType::Local,
    AttributeType::Sign,
];
const MUST_NOT: [AttributeType; 4] =
    [AttributeType::Extractable, AttributeType::Decrypt, AttributeType::Unwrap, AttributeType::Derive];

/// CKA_ID of a key: SHA-256 of its SubjectPublicKeyInfo.
pub(crate) fn id_of(public: &PublicKey) -> Vec<u8> {
    public.fingerprint().to_vec()
}

pub(crate) fn id_text(public: &PublicKey) -> String {
    HEXLOWER.encode(&public.fingerprint())
}

/// Makes a pair that signs and does nothing else, whose private half cannot leave the token; named by its public half.
///
/// # Errors
/// [`TokenError`]; nothing is left in the token then, if it still answers.
pub(crate) fn generate(connection: &Connection, algorithm: KeyAlgorithm, label: &str) -> Result<PublicKey, TokenError> {
    let curve = match algorithm {
        KeyAlgorithm::EcdsaP256 => P256,
        KeyAlgorithm::EcdsaP384 => P384,
        KeyAlgorithm::Rsa(_) => return Err(unsound(connection, KeyError::NotEcdsa)),
    };
    let label = Attribute::Label(label.as_bytes().to_vec());
    let public = [
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(curve.to_vec()),
        label.clone(),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::SignRecover(false),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
        label,
    ];
    connection.writing(|session| {
        let made = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private);
        let (public, private) = made.map_err(|error| connection.failed(&error))?;
        let named = name(connection, session, (public, private), algorithm);
        if named.is_err() {
            for object in [private, public] {
                drop(session.destroy_object(object));
            }
        }
        named
    })
}

fn name(
    connection: &Connection,
    session: &Session,
    (public, private): (ObjectHandle, ObjectHandle),
    algorithm: KeyAlgorithm,
) -> Result<PublicKey, TokenError> {
    let failed = |error| connection.failed(&error);
    let attributes = session.get_attributes(public, &[AttributeType::EcPoint]).map_err(failed)?;
    let Some(Attribute::EcPoint(point)) = attributes.first() else {
        return Err(unsound(connection, KeyError::PublicPointMissing));
    };
    // An OCTET STRING of under 128 bytes, as both curves have; some modules give the point itself.
    let point = match point.as_slice() {
        [OCTET_STRING, length, rest @ ..] if usize::from(*length) == rest.len() => rest,
        bare => bare,
    };
    let key = PublicKey::from_ec_point(algorithm, point).map_err(|cause| unsound(connection, cause))?;
    for object in [private, public] {
        session.update_attributes(object, &[Attribute::Id(id_of(&key))]).map_err(failed)?;
    }
    check(connection, session, private, &key)?;
    Ok(key)
}

/// The private half of this key, when it is there and is what it should be.
///
/// # Errors
/// [`TokenError::NoKey`], [`TokenError::UnfitKey`], or a call that failed.
pub(crate) fn find(connection: &Connection, session: &Session, public: &PublicKey) -> Result<ObjectHandle, TokenError> {
    let wanted = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(KeyType::EC), Attribute::Id(id_of(public))];
    let found = session.find_objects(&wanted).map_err(|error| connection.failed(&error))?;
    match found[..] {
        [key] => check(connection, session, key, public).map(|()| key),
        [] => {
            connection.check_login(session)?;
            Err(TokenError::NoKey { token: connection.token().to_owned(), id: id_text(public) })
        }
        _ => Err(unfit(connection, public, format!("{} keys have this CKA_ID", found.len()))),
    }
}

/// That the key was made in this token, never left it and cannot, and signs alone.
fn check(connection: &Connection, session: &Session, key: ObjectHandle, public: &PublicKey) -> Result<(), TokenError> {
    let asked = [&MUST[..], &MUST_NOT].concat();
    let told = session.get_attributes(key, &asked).map_err(|error| connection.failed(&error))?;
    let value = |wanted: AttributeType| told.iter().find(|attribute| attribute.attribute_type() == wanted).and_then(truth);
    // What the token does not say counts as the worse.
    if let Some(lacking) = MUST.into_iter().find(|wanted| value(*wanted) != Some(true)) {
        return Err(unfit(connection, public, format!("{lacking} is not true of it")));
    }
    let extractable = value(AttributeType::Extractable);
    let forbidden = MUST_NOT.into_iter().find(|forbidden| value(*forbidden) == Some(true));
    match forbidden {
        Some(forbidden) => Err(unfit(connection, public, format!("{forbidden} is true of it"))),
        None if extractable.is_none() => Err(unfit(connection, public, "the token does not say that it cannot leave".to_owned())),
        None => Ok(()),
    }
}

fn truth(attribute: &Attribute) -> Option<bool> {
    if let Attribute::Sensitive(value)
    | Attribute::AlwaysSensitive(value)
    | Attribute::NeverExtractable(value)
    | Attribute::Local(value)
    | Attribute::Sign(value)
    | Attribute::Extractable(value)
    | Attribute::Decrypt(value)
    | Attribute::Unwrap(value)
    | Attribute::Derive(value) = attribute
    {
        Some(*value)
    } else {
        None
    }
}

/// Destroys both halves; says whether there was a private one.
///
/// # Errors
/// [`TokenError`], also when a private half is still there afterwards.
pub(crate) fn destroy(connection: &Connection, public: &PublicKey) -> Result<bool, TokenError> {
    let failed = |error| connection.failed(&error);
    let of = |class| [Attribute::Class(class), Attribute::Id(id_of(public))];
    connection.writing(|session| {
        connection.check_login(session)?;
        let private = session.find_objects(&of(ObjectClass::PRIVATE_KEY)).map_err(failed)?;
        let halves = session.find_objects(&of(ObjectClass::PUBLIC_KEY)).map_err(failed)?;
        for object in private.iter().chain(&halves) {
            session.destroy_object(*object).map_err(failed)?;
        }
        match session.find_objects(&of(ObjectClass::PRIVATE_KEY)).map_err(failed)?.len() {
            0 => Ok(!private.is_empty()),
            left => Err(unfit(connection, public, format!("{left} of it are still there after they were destroyed"))),
        }
    })
}

/// CKA_ID and CKA_LABEL of all private keys.
///
/// # Errors
/// [`TokenError`].
pub(crate) fn list(connection: &Connection) -> Result<Vec<(Vec<u8>, String)>, TokenError> {
    let failed = |error| connection.failed(&error);
    connection.reading(|session| {
        connection.check_login(session)?;
        let keys = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).map_err(failed)?;
        keys.into_iter()
            .map(|key| {
                let (mut id, mut label) = (Vec::new(), String::new());
                for attribute in session.get_attributes(key, &[AttributeType::Id, AttributeType::Label]).map_err(failed)? {
                    if let Attribute::Id(bytes) = attribute {
                        id = bytes;
                    } else if let Attribute::Label(bytes) = attribute {
                        label = String::from_utf8_lossy(&bytes).into_owned();
                    }
                }
                Ok((id, label))
            })
            .collect()
    })
}

fn unfit(connection: &Connection, public: &PublicKey, why: String) -> TokenError {
    TokenError::UnfitKey { token: connection.token().to_owned(), id: id_text(public), why }
}

pub(crate) fn unsound(connection: &Connection, cause: KeyError) -> TokenError {
    TokenError::Unsound { token: connection.token().to_owned(), cause }
}
