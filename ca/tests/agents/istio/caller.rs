//! An issuer of tokens, and a caller with one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use identity::SpiffeId;
use pki::{Certificate, JwtKey, KeyAlgorithm, PrivateKey, X509Svid, build_request, certificates_from_pem, request_to_pem};
use proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use proto::istio::{IstioCertificateRequest, IstioCertificateResponse};
use serde_json::{Value, json};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt;

use crate::test_agent::{Connection, connect, key};
use crate::test_ca::TestCa;

pub(crate) const WEB: &str = "system:serviceaccount:prod:web";
pub(crate) const WEB_ID: &str = "spiffe://example.org/ns/prod/sa/web";

/// An issuer whose keys lie in a file.
pub(crate) struct Issuer {
    key: JwtKey,
    file: PathBuf,
}

impl Issuer {
    pub(crate) fn below(directory: &Path) -> Self {
        let key = JwtKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap();
        let issuer = Self { key, file: directory.join("jwks.json") };
        issuer.publish();
        issuer
    }

    /// Writes the keys where the rule says.
    pub(crate) fn publish(&self) {
        let spki = self.key.authority().public_key().spki_der().to_vec();
        let (x, y) = spki[spki.len() - 64..].split_at(32);
        let [x, y] = [x, y].map(|part| BASE64URL_NOPAD.encode(part));
        let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": self.key.key_id().as_str(), "x": x, "y": y });
        std::fs::write(&self.file, json!({ "keys": [jwk] }).to_string()).unwrap();
    }

    pub(crate) fn withdraw(&self) {
        std::fs::remove_file(&self.file).unwrap();
    }

    /// The rule for its tokens, with more keys of it.
    pub(crate) fn rule(&self, more: &str) -> String {
        let file = self.file.display();
        format!("[[oidc]]\nissuer = \"https://issuer.example\"\naudiences = [\"istio-ca\"]\njwks_file = \"{file}\"\n{more}\n")
    }

    /// A token for this subject, good for ten minutes of the CA's clock.
    pub(crate) fn token(&self, ca: &TestCa, subject: &str) -> String {
        let exp = ca.clock_now().unix_seconds() + 600;
        let claims = json!({ "iss": "https://issuer.example", "aud": ["istio-ca"], "sub": subject, "exp": exp });
        let encode = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
        let header = json!({ "alg": "ES256", "kid": self.key.key_id().as_str() });
        let input = format!("{}.{}", encode(&header), encode(&claims));
        format!("{input}.{}", BASE64URL_NOPAD.encode(&self.key.sign(input.as_bytes()).unwrap()))
    }
}

/// One who calls over a connection of its own, with a new key each time.
pub(crate) struct Caller {
    pub(crate) connection: Connection,
    pub(crate) bearer: Option<String>,
}

impl Caller {
    /// Without a certificate, by token.
    pub(crate) async fn with_token(ca: &TestCa, token: &str) -> Self {
        Self { connection: connect(ca, None).await, bearer: Some(token.to_owned()) }
    }

    /// With a certificate, without a token.
    pub(crate) async fn with_svid(ca: &TestCa, svid: &Arc<X509Svid>) -> Self {
        Self { connection: connect(ca, Some(svid)).await, bearer: None }
    }

    pub(crate) fn client(&self) -> IstioCertificateServiceClient<Channel> {
        IstioCertificateServiceClient::new(self.connection.channel.clone())
    }

    /// The message with the credentials of this caller.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.bearer {
            request.metadata_mut().insert("authorization", MetadataValue::try_from(format!("Bearer {token}")).unwrap());
        }
        request
    }

    pub(crate) async fn send(&self, message: IstioCertificateRequest) -> Result<IstioCertificateResponse, Status> {
        Ok(self.client().create_certificate(self.request(message)).await?.into_inner())
    }

    /// Asks for a certificate by default, with a CSR that names nobody.
    pub(crate) async fn ask(&self) -> Result<Arc<X509Svid>, Status> {
        self.ask_changed(None, |_| {}).await
    }

    /// The same with a CSR that names this identity, and a message that was changed.
    pub(crate) async fn ask_changed(
        &self,
        id: Option<&str>,
        change: impl FnOnce(&mut IstioCertificateRequest),
    ) -> Result<Arc<X509Svid>, Status> {
        let key = key();
        let mut message = IstioCertificateRequest { csr: csr(&key, id), ..IstioCertificateRequest::default() };
        change(&mut message);
        let answer = self.send(message).await?;
        Ok(svid_of(&answer, key))
    }
}

pub(crate) fn csr(key: &PrivateKey, id: Option<&str>) -> String {
    let id = id.map(|id| SpiffeId::parse(id).unwrap());
    request_to_pem(&build_request(key, id.as_ref()).unwrap())
}

/// The answer with the key of its request; the form of the answer is checked.
pub(crate) fn svid_of(answer: &IstioCertificateResponse, key: PrivateKey) -> Arc<X509Svid> {
    let (roots, chain) = answer.cert_chain.split_last().unwrap();
    assert!(!chain.is_empty(), "two elements at least");
    assert!(answer.cert_chain.iter().all(|pem| pem.ends_with("-----END CERTIFICATE-----\n")));
    assert!(!certificates_from_pem(roots.as_bytes()).unwrap().is_empty());
    let one = |pem: &String| -> Certificate {
        let [certificate] = <[_; 1]>::try_from(certificates_from_pem(pem.as_bytes()).unwrap()).unwrap();
        certificate
    };
    let chain: Vec<_> = chain.iter().map(one).collect();
    let issued_at = chain[0].not_before().plus(Duration::from_secs(60));
    Arc::new(X509Svid::new(chain, key, issued_at).unwrap())
}

/// How long the caller is told to wait.
pub(crate) fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}
