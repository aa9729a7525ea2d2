//! What the fake CA does when asked: the checks that a real one makes, and the faults that a test asks for.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt};
use identity::SpiffeId;
use pki::{AudienceSet, KeyAlgorithm, PrivateKey, PublicKey, VerifiedRequest};
use proto::v1;
use runtime::clock::Clock;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use super::FakeAuthority;
use super::ca::{Answers, ConnectInfo, Seen};

#[derive(Clone)]
pub(super) struct Fake {
    pub(super) authority: Arc<FakeAuthority>,
    pub(super) stranger: Arc<FakeAuthority>,
    pub(super) answers: watch::Receiver<Answers>,
    pub(super) entries: watch::Receiver<Vec<v1::Entry>>,
    pub(super) seen: Arc<Mutex<Seen>>,
    pub(super) hang_up: broadcast::Sender<()>,
    pub(super) clock: Arc<dyn Clock>,
}

fn refused(reason: &str) -> Status {
    let code = if reason == "MUST_REATTEST" { Code::Unauthenticated } else { Code::PermissionDenied };
    Status::with_error_details(code, "the fake refuses", ErrorDetails::with_error_info(reason, "signet", []))
}

pub(super) fn info<T>(request: &Request<T>) -> ConnectInfo {
    request.extensions().get::<ConnectInfo>().unwrap().clone()
}

impl Fake {
    pub(super) fn answers(&self) -> Answers {
        self.answers.borrow().clone()
    }

    fn hello(&self) -> v1::Hello {
        let Answers { protocol, features, .. } = self.answers();
        let features = features.iter().map(|feature| (*feature).to_owned()).collect();
        v1::Hello { protocol, build: "fake".into(), features, ..v1::Hello::default() }
    }

    fn bundle(&self) -> v1::Bundle {
        let answers = self.answers();
        if let Some(bundle) = &answers.bundle {
            return FakeAuthority::wire_of(bundle);
        }
        let authority = if answers.strange_bundle { &self.stranger } else { &self.authority };
        authority.wire_bundle(answers.bundle_sequence)
    }

    /// Who signs.
    fn signer(&self) -> Arc<FakeAuthority> {
        let Answers { stranger, successor, .. } = self.answers();
        if stranger { Arc::clone(&self.stranger) } else { successor.unwrap_or_else(|| Arc::clone(&self.authority)) }
    }

    pub(super) fn svid(&self, id: &SpiffeId, csr: &[u8]) -> v1::X509Svid {
        let answers = self.answers();
        let request = VerifiedRequest::parse(csr).unwrap();
        let own = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let key: &PublicKey = if answers.wrong_key { own.public_key() } else { request.public_key() };
        let id = answers.wrong_name.as_deref().map_or_else(|| id.clone(), |name| SpiffeId::parse(name).unwrap());
        let now = self.clock.now();
        let chain = self.signer().chain(&id, key, answers.ttl, now.into());
        v1::X509Svid {
            spiffe_id: id.to_string(),
            chain: chain.iter().map(|certificate| certificate.der().to_vec()).collect(),
            issued_at: Some(now.into()),
        }
    }

    fn attested(&self, csr: &[u8]) -> v1::AttestResponse {
        v1::AttestResponse {
            hello: Some(self.hello()),
            svid: Some(self.svid(&self.authority.id("/signet/agent/n1"), csr)),
            bundle: Some(self.bundle()),
            node: "n1".into(),
        }
    }

    fn admit(&self, peer: Option<SpiffeId>) -> Result<SpiffeId, Status> {
        match (self.answers().refuse_node, peer) {
            (Some(reason), _) => Err(refused(reason)),
            (None, Some(peer)) => Ok(peer),
            (None, None) => Err(refused("MUST_REATTEST")),
        }
    }
}

#[tonic::async_trait]
impl v1::node_attestation_server::NodeAttestation for Fake {
    type AttestCertificateStream = Pin<Box<dyn Stream<Item = Result<v1::AttestCertificateResponse, Status>> + Send>>;
    type ReattestStream = Pin<Box<dyn Stream<Item = Result<v1::ReattestResponse, Status>> + Send>>;

    async fn attest_service_account(
        &self,
        _request: Request<v1::AttestServiceAccountRequest>,
    ) -> Result<Response<v1::AttestResponse>, Status> {
        Err(Status::unimplemented("no agents of a cluster"))
    }

    async fn attest_join_token(
        &self,
        request: Request<v1::AttestJoinTokenRequest>,
    ) -> Result<Response<v1::AttestResponse>, Status> {
        let exporter = info(&request).exporter;
        let request = request.into_inner();
        {
            let mut seen = self.seen.lock().unwrap();
            seen.tokens.push(request.token.clone());
            seen.node_keys.push(request.node_public_key.clone());
        }
        let transcript = pki::proof::join_token_transcript(&exporter, &pki::sha256(request.token.as_bytes()), &request.csr);
        let key = PublicKey::from_spki_der(&request.node_public_key).unwrap();
        key.verify(&transcript, &request.proof).map_err(|_| refused("PROOF_INVALID"))?;
        let answers = self.answers();
        if let Some(reason) = answers.refuse_attestation.or(answers.refuse_tokens) {
            return Err(refused(reason));
        }
        if self.seen.lock().unwrap().tokens.len() <= self.answers().lose_replies {
            return Err(Status::unavailable("the reply was lost"));
        }
        Ok(Response::new(self.attested(&request.csr)))
    }

    async fn attest_certificate(
        &self,
        request: Request<Streaming<v1::AttestCertificateRequest>>,
    ) -> Result<Response<Self::AttestCertificateStream>, Status> {
        use v1::attest_certificate_request::Step as Ask;
        use v1::attest_certificate_response::{Challenge, Step as Say};
        let exporter = info(&request).exporter;
        let fake = self.clone();
        let mut steps = request.into_inner();
        let (say, said) = mpsc::channel(2);
        #[expect(clippy::disallowed_methods, reason = "ends with the stream")]
        tokio::spawn(async move {
            let Ok(Some(Ask::Begin(begin))) = steps.message().await.map(|m| m.unwrap().step) else { panic!("no begin") };
            let nonce = [8; 32];
            let challenge = Some(Say::Challenge(Challenge { nonce: nonce.to_vec() }));
            say.send(Ok(v1::AttestCertificateResponse { step: challenge })).await.unwrap();
            let Ok(Some(Ask::Proof(proof))) = steps.message().await.map(|m| m.unwrap().step) else { panic!("no proof") };
            let transcript =
                pki::proof::certificate_transcript(&exporter, &nonce, &proof.csr, &begin.node_public_key, &begin.chain[0]);
            let node_key = PublicKey::from_spki_der(&begin.node_public_key).unwrap();
            let holder = pki::Certificate::from_der(&begin.chain[0]).unwrap();
            node_key.verify(&transcript, &proof.node_proof).unwrap();
            holder.public_key().verify(&transcript, &proof.certificate_proof).unwrap();
            fake.seen.lock().unwrap().provisioned.push(holder.fingerprint());
            let answer = match fake.answers().refuse_provisioning {
                Some(reason) => Err(refused(reason)),
                None => Ok(v1::AttestCertificateResponse { step: Some(Say::Result(fake.attested(&proof.csr))) }),
            };
            let _gone = say.send(answer).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }

    async fn reattest(&self, request: Request<Streaming<v1::ReattestRequest>>) -> Result<Response<Self::ReattestStream>, Status> {
        use v1::reattest_request::Step as Ask;
        use v1::reattest_response::{Challenge, Step as Say};
        let ConnectInfo { exporter, peer } = info(&request);
        assert_eq!(peer, None, "an agent re-attests without a client certificate");
        self.seen.lock().unwrap().reattestations += 1;
        let answers = self.answers();
        if let Some(reason) = answers.refuse_attestation.or(answers.refuse_reattestation) {
            return Err(refused(reason));
        }
        let fake = self.clone();
        let mut steps = request.into_inner();
        let (say, said) = mpsc::channel(2);
        #[expect(clippy::disallowed_methods, reason = "ends with the stream")]
        tokio::spawn(async move {
            let Ok(Some(Ask::Begin(begin))) = steps.message().await.map(|m| m.unwrap().step) else { panic!("no begin") };
            let nonce = [9; 32];
            let challenge = Some(Say::Challenge(Challenge { nonce: nonce.to_vec() }));
            say.send(Ok(v1::ReattestResponse { step: challenge })).await.unwrap();
            let Ok(Some(Ask::Proof(proof))) = steps.message().await.map(|m| m.unwrap().step) else { panic!("no proof") };
            let transcript = pki::proof::reattestation_transcript(&exporter, &nonce, &proof.csr);
            let key = PublicKey::from_spki_der(&begin.node_public_key).unwrap();
            let answer = match key.verify(&transcript, &proof.proof) {
                Ok(()) => Ok(v1::ReattestResponse { step: Some(Say::Result(fake.attested(&proof.csr))) }),
                Err(_) => Err(refused("PROOF_INVALID")),
            };
            say.send(answer).await.unwrap();
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }
}

#[tonic::async_trait]
impl v1::node_server::Node for Fake {
    type SyncStream = Pin<Box<dyn Stream<Item = Result<v1::SyncResponse, Status>> + Send>>;

    async fn renew_agent(&self, request: Request<v1::RenewAgentRequest>) -> Result<Response<v1::RenewAgentResponse>, Status> {
        self.seen.lock().unwrap().renewals += 1;
        let id = self.admit(info(&request).peer)?;
        Ok(Response::new(v1::RenewAgentResponse { svid: Some(self.svid(&id, &request.into_inner().csr)) }))
    }

    async fn sync(&self, request: Request<Streaming<v1::SyncRequest>>) -> Result<Response<Self::SyncStream>, Status> {
        self.admit(info(&request).peer)?;
        let fake = self.clone();
        let mut asked = request.into_inner();
        self.seen.lock().unwrap().streams += 1;
        let (say, said) = mpsc::channel(8);
        #[expect(clippy::disallowed_methods, reason = "ends with the stream")]
        tokio::spawn(async move {
            let (mut entries, mut answers) = (fake.entries.clone(), fake.answers.clone());
            let mut hang_up = fake.hang_up.subscribe();
            let hello = v1::SyncResponse { message: Some(v1::sync_response::Message::Hello(fake.hello())) };
            say.send(Ok(hello)).await.unwrap();
            let mut sequence = 0;
            loop {
                sequence += 1;
                let update = v1::SyncUpdate {
                    sequence,
                    replaces_entries: true,
                    upserted: entries.borrow_and_update().clone(),
                    removed: Vec::new(),
                    bundle: Some(fake.bundle()),
                    revocation: fake.answers().revocation,
                    foreign_bundles: None,
                };
                answers.mark_unchanged();
                let update = v1::SyncResponse { message: Some(v1::sync_response::Message::Update(update)) };
                if say.send(Ok(update)).await.is_err() {
                    return;
                }
                loop {
                    tokio::select! {
                        message = asked.message() => match message {
                            Ok(Some(v1::SyncRequest { message: Some(v1::sync_request::Message::Ack(ack)) })) => {
                                fake.seen.lock().unwrap().acks.push((ack.sequence, ack.bundle_sequence));
                            }
                            Ok(Some(v1::SyncRequest { message: Some(v1::sync_request::Message::Progress(progress)) })) => {
                                let mut seen = fake.seen.lock().unwrap();
                                let acks = seen.acks.len();
                                seen.progress.push((acks, progress));
                            }
                            Ok(Some(v1::SyncRequest { message: Some(v1::sync_request::Message::Hello(hello)) })) => {
                                fake.seen.lock().unwrap().features = hello.features;
                            }
                            Ok(Some(v1::SyncRequest { message: None })) => panic!("a message without content"),
                            Ok(None) | Err(_) => return,
                        },
                        Ok(()) = entries.changed() => break,
                        Ok(()) = answers.changed() => match fake.answers().refuse_node {
                            Some(reason) => {
                                let _gone = say.send(Err(refused(reason))).await;
                                return;
                            }
                            None => break,
                        },
                        _ = hang_up.recv() => return,
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(said).boxed()))
    }

    async fn issue_jwt_svid(
        &self,
        request: Request<v1::IssueJwtSvidRequest>,
    ) -> Result<Response<v1::IssueJwtSvidResponse>, Status> {
        self.admit(info(&request).peer)?;
        let v1::IssueJwtSvidRequest { entry_id, audiences, service_account: _ } = request.into_inner();
        self.seen.lock().unwrap().tokens_asked.push((entry_id.clone(), audiences.clone()));
        let answers = self.answers();
        tokio::time::sleep(answers.slow_batch).await;
        let entry = self.entries.borrow().iter().find(|entry| entry.id == entry_id).cloned();
        let (None, Some(entry)) = (answers.refuse_issue, entry) else {
            return Err(refused(answers.refuse_issue.unwrap_or("ENTRY_NOT_FOUND")));
        };
        let id = SpiffeId::parse(answers.wrong_name.as_deref().unwrap_or(&entry.spiffe_id)).unwrap();
        let audiences = answers.wrong_audience.map_or(audiences, |audience| vec![audience.to_owned()]);
        let audiences = AudienceSet::parse(&audiences).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let now = self.clock.now();
        let svid = self.signer().jwt_svid(&id, &audiences, answers.ttl.min(pki::MAX_JWT_TTL), now.into());
        Ok(Response::new(v1::IssueJwtSvidResponse {
            token: svid.token().to_owned(),
            issued_at: Some(now.into()),
            expires_at: Some(std::time::SystemTime::from(svid.expires_at()).into()),
        }))
    }

    async fn batch_issue(&self, request: Request<v1::BatchIssueRequest>) -> Result<Response<v1::BatchIssueResponse>, Status> {
        use v1::batch_issue_response::{Item, item::Outcome};
        self.admit(info(&request).peer)?;
        let items = request.into_inner().items;
        self.seen.lock().unwrap().batches.push(items.iter().map(|item| item.entry_id.clone()).collect());
        tokio::time::sleep(self.answers().slow_batch).await;
        let entries = self.entries.borrow().clone();
        let issue = |item: &v1::batch_issue_request::Item| match self.answers().refuse_issue {
            Some(reason) => {
                Outcome::Error(v1::IssueError { code: 7, reason: reason.into(), message: "no".into(), retry_after: None })
            }
            None => {
                let entry = entries.iter().find(|entry| entry.id == item.entry_id).unwrap();
                Outcome::Svid(self.svid(&SpiffeId::parse(&entry.spiffe_id).unwrap(), &item.csr))
            }
        };
        let items = items.iter().map(|item| Item { outcome: Some(issue(item)) }).collect();
        Ok(Response::new(v1::BatchIssueResponse { items }))
    }
}
