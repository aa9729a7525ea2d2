//! What a certificate is used for, and which issuers may vouch for that (RFC 5280 section 4.2.1.12).

use webpki::{ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage, RequiredEkuNotFoundContext};

use crate::certificate::ExtendedKeyUsage;

/// A purpose that is asked for.
struct Purpose {
    /// As it is encoded.
    oid: &'static [u8],
    /// As errors name it.
    required: fn() -> KeyUsage,
}

/// id-kp-clientAuth, 1.3.6.1.5.5.7.3.2, and id-kp-serverAuth, 1.3.6.1.5.5.7.3.1.
const CLIENT_AND_SERVER: [Purpose; 2] = [
    Purpose { oid: &[0x2b, 6, 1, 5, 5, 7, 3, 2], required: KeyUsage::client_auth },
    Purpose { oid: &[0x2b, 6, 1, 5, 5, 7, 3, 1], required: KeyUsage::server_auth },
];

/// What the peer does with its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// It is a TLS client.
    Client,
    /// It is a TLS server.
    Server,
    /// It is either, in turn, as every SVID is: one path that is good for both, found and verified once.
    Both,
}

impl Usage {
    /// Whether an issuer that names these purposes may vouch for it.
    pub(super) fn is_allowed_by(self, allowed: &ExtendedKeyUsage) -> bool {
        match self {
            Self::Client => allowed.client_auth,
            Self::Server => allowed.server_auth,
            Self::Both => allowed.client_auth && allowed.server_auth,
        }
    }

    fn purposes(self) -> &'static [Purpose] {
        let [client, server] = &CLIENT_AND_SERVER;
        match self {
            Self::Client => std::slice::from_ref(client),
            Self::Server => std::slice::from_ref(server),
            Self::Both => &CLIENT_AND_SERVER,
        }
    }
}

/// Who names no purposes vouches for all. What a leaf must name is asked apart from this.
impl ExtendedKeyUsageValidator for Usage {
    fn validate(&self, named: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let named = named.collect::<Result<Vec<_>, _>>()?;
        let missing = self.purposes().iter().find(|purpose| !named.contains(&KeyPurposeId::new(purpose.oid)));
        match missing {
            Some(purpose) if !named.is_empty() => {
                let present = named.iter().map(KeyPurposeId::to_decoded_oid).collect();
                let required = (purpose.required)();
                Err(webpki::Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required, present }))
            }
            Some(_) | None => Ok(()),
        }
    }
}
