//! Issuing CAs of replicas that have no key of the root: asked for in the store, and signed by whoever has it.

use std::path::PathBuf;
use std::time::Duration;

use pki::{AuthorityRole, Certificate, Timestamp, VerifiedRequest};
use runtime::clock::Ticker;

use super::maker::key_algorithm_like;
use super::materials::{MaterialError, Materials, certificate_of};
use super::steps::Step;
use crate::authority::lifecycle::{Authority, AuthorityName};
use crate::signing_keys::NewKey;
use crate::store::{IssuerRequest, StoreError};
use crate::upstream::UpstreamAnswer;
use crate::upstream::answer;

/// Between two looks for an answer, and how many there are before something else is done.
const LOOK: Duration = Duration::from_millis(250);
const LOOKS: usize = 16;

/// A request that is not answered yet, with its key.
pub(super) struct Pending {
    request: IssuerRequest,
    key: NewKey,
}

impl Materials {
    /// Asks for an issuing CA under a root whose key lies with another replica, and writes it as a generation when it was signed. The key is
    /// kept from one call to the next.
    ///
    /// # Errors
    /// [`MaterialError::AwaitsReplica`] while it is not signed; whatever does not verify is not written.
    pub(super) async fn ask_replica(
        &self,
        name: AuthorityName,
        root: &Authority,
        now: Timestamp,
    ) -> Result<PathBuf, MaterialError> {
        let root_certificate = certificate_of(root)?;
        let fence = self.tenure.fence();
        let mut pending = self.pending.lock().await;
        let asked = match pending.take() {
            Some(asked) if asked.request.name == name && asked.request.root == root.name => asked,
            other => {
                if let Some(Pending { request, key }) = other {
                    self.keys.discard(&key, &self.key_file(request.name)).await;
                }
                let key = self.new_key(name, key_algorithm_like(root_certificate.public_key().algorithm())).await?;
                let unsigned = |error: &dyn std::fmt::Display| MaterialError::Replica(error.to_string());
                let csr_der = pki::build_request_by(&*key.signer()).await.map_err(|error| unsigned(&error))?;
                let request = IssuerRequest { name, replica: fence.replica.clone(), root: root.name, csr_der };
                Pending { request, key }
            }
        };
        let asking = self.store.ask_issuer(fence.clone(), asked.request.clone(), now);
        if let Err(error) = self.steps.run(Step::AskReplica, asking).await {
            *pending = Some(asked);
            return Err(error.into());
        }
        let Some(certificate_der) = self.await_answer(&asked.request).await? else {
            *pending = Some(asked);
            return Err(MaterialError::AwaitsReplica { name, root: root.name });
        };
        let Pending { request, key } = asked;
        let put = self.put_answer_of_replica(&request, &key, certificate_der, &root_certificate, now).await;
        let place = self.kept_if(put, name, &key).await;
        // One that does not verify is asked for anew, with another key.
        let forgotten = self.store.forget_issuer(fence, name);
        self.steps.run(Step::AskReplica, forgotten).await?;
        place
    }

    /// Whether what was asked for, and waited for in vain, has been signed since.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn is_answered(&self) -> Result<bool, StoreError> {
        match &*self.pending.lock().await {
            Some(asked) => Ok(self.store.issuer_answer(asked.request.clone()).await?.is_some()),
            None => Ok(false),
        }
    }

    async fn await_answer(&self, request: &IssuerRequest) -> Result<Option<Vec<u8>>, MaterialError> {
        let mut ticker = Ticker::new(LOOK).map_err(|error| MaterialError::Replica(error.to_string()))?;
        for _ in 0..LOOKS {
            if let Some(certificate_der) = self.store.issuer_answer(request.clone()).await? {
                return Ok(Some(certificate_der));
            }
            ticker.tick().await.map_err(|error| MaterialError::Replica(error.to_string()))?;
        }
        Ok(None)
    }

    async fn put_answer_of_replica(
        &self,
        request: &IssuerRequest,
        key: &NewKey,
        certificate_der: Vec<u8>,
        root: &Certificate,
        now: Timestamp,
    ) -> Result<PathBuf, MaterialError> {
        let answer = UpstreamAnswer { chain: vec![certificate_der], roots: vec![root.der().to_vec()] };
        let verified = answer::verify(&answer, key, &self.trust_domain, &self.profile, Some(root), now).await;
        let verified = verified.map_err(|error| {
            MaterialError::Replica(format!("what was signed for {} does not verify and is not used: {error}", request.name))
        })?;
        let (maker, generations) = (self.maker(now), self.places.generations());
        let signed = (&verified.issuer, key);
        Ok(maker.write_generation(generations, request.name.number, signed, &[], root, &self.keys).await?)
    }

    /// Signs what another replica asked for, if the key of the root lies here and nobody else is at it.
    ///
    /// # Errors
    /// [`MaterialError`], [`MaterialError::NoRootKey`] where it lies elsewhere.
    pub(super) async fn sign_for_replica(
        &self,
        request: &IssuerRequest,
        root: &Authority,
        now: Timestamp,
    ) -> Result<(), MaterialError> {
        let root_key = self.root_key(root).await?;
        let root_certificate = certificate_of(root)?;
        let verified = VerifiedRequest::parse(&request.csr_der).map_err(|error| MaterialError::Replica(error.to_string()))?;
        let fence = self.tenure.fence();
        let claimed = self.store.claim_issuer(fence.clone(), request.clone());
        if !self.steps.run(Step::ClaimRequest, claimed).await? {
            return Ok(());
        }
        let maker = self.maker(now);
        let key = verified.public_key();
        let issuer = maker.certificate(AuthorityRole::Issuer, key, Some(&root_certificate), &root_key).await?;
        let answered = self.store.answer_issuer(fence, request.clone(), issuer.der().to_vec());
        self.steps.run(Step::AnswerRequest, answered).await?;
        tracing::info!(replica = %request.replica, name = %request.name, root = %root.name, "an issuing CA of another replica is signed");
        Ok(())
    }
}
