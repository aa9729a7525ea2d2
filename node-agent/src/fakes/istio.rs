//! The fake CA's other door: Istio's certificate API.

use identity::SpiffeId;
use pki::{Certificate, certificates_to_pem};
use prost_types::value::Kind;
use proto::istio::istio_certificate_service_server::IstioCertificateService;
use proto::istio::{IstioCertificateRequest, IstioCertificateResponse};
use tonic::{Request, Response, Status};

use super::service::{Fake, info};

/// One call, as it came.
#[derive(Clone, Debug)]
pub(crate) struct IstioCall {
    pub(crate) bearer: Option<String>,
    pub(crate) peer: Option<SpiffeId>,
    pub(crate) validity: i64,
    pub(crate) cert_signer: Option<String>,
}

#[tonic::async_trait]
impl IstioCertificateService for Fake {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let peer = info(&request).peer;
        let bearer = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let IstioCertificateRequest { csr, validity_duration, metadata, .. } = request.into_inner();
        let cert_signer = metadata.unwrap().fields.remove("CertSigner").and_then(|value| match value.kind {
            Some(Kind::StringValue(text)) => Some(text),
            _ => None,
        });
        let call = IstioCall { bearer: bearer.clone(), peer: peer.clone(), validity: validity_duration, cert_signer };
        self.seen.lock().unwrap().certificates.push(call);
        let answers = self.answers();
        if let Some(refusal) = answers.refuse_certificate {
            return Err(refusal);
        }
        let id = match (bearer, peer) {
            (Some(_), _) => self.authority.id(answers.bearer_is),
            (None, Some(peer)) => peer,
            (None, None) => return Err(Status::unauthenticated("request authenticate failure")),
        };
        let svid = self.svid(&id, &csr_der(&csr));
        let pem = |der: &[u8]| certificates_to_pem(&[Certificate::from_der(der).unwrap()]);
        let mut cert_chain: Vec<_> = svid.chain.iter().map(|der| pem(der)).collect();
        let roots = if answers.strange_bundle { &self.stranger } else { answers.successor.as_ref().unwrap_or(&self.authority) };
        cert_chain.push(roots.bundle(1).to_pem());
        cert_chain.truncate(answers.elements);
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

fn csr_der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    data_encoding::BASE64.decode(body.as_bytes()).unwrap()
}
