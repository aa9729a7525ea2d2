//! Attestation as a step of the node's life: verify the CA, only then read the token, prove, take the answer.

use std::sync::Arc;

use mtls::{PeerRejection, TlsError};
use pki::SvidError;

use super::attestation::{AttestationFault, Attested, Attestor};
use super::connection::{self, CaConnection, ConnectFault};
use super::fault::{CallFault, RefusalReason};
use super::lifecycle::{Failure, Standing};
use super::node::{NodeClient, NodeFailure};
use super::rebootstrap::NewTrust;
use super::trust::warn_of_lapses;
use super::view::NodeView;
use crate::certificate_directory::{CertificateDirectory, CertificateDirectoryError};
use crate::config::{FirstProof, TokenSource};
use crate::metrics::{Alarm, AttestationMethod, AttestationOutcome};
use crate::token::JoinToken;
use crate::web_token_file;

impl NodeClient {
    /// Attests by one of the methods, over a connection of its own.
    ///
    /// # Errors
    /// [`NodeFailure`] when only an operator can help.
    pub(super) async fn attest(&mut self, method: AttestationMethod) -> Result<(), NodeFailure> {
        let view = Arc::clone(&self.view.borrow());
        let clock = Arc::clone(&self.settings.clock);
        // Of an operator's order to trust anew the bundle held is no part.
        let bundle = match &self.anew {
            Some(NewTrust::Bundle(bundle)) => Some(Arc::clone(bundle)),
            Some(NewTrust::Root(_)) => None,
            None => view.bundle.clone(),
        };
        let pin = if let Some(NewTrust::Root(pin)) = &self.anew { Some(*pin) } else { self.settings.pin };
        let tls = match (&bundle, pin) {
            (Some(bundle), _) => connection::tls_under_bundle(bundle, None, &clock),
            (None, Some(pin)) => connection::tls_under_pin(pin, &self.settings.trust_domain, &clock),
            (None, None) => return Err(NodeFailure::NoTrust),
        };
        let connection = match CaConnection::open(self.settings.ca.current(), &tls).await {
            Ok(connection) => connection,
            Err(fault) => {
                // Who has been trusted before does not end by an order that names somebody else.
                if let Some(failure) = pin_mismatch(&fault).filter(|_| self.anew.is_none()) {
                    return Err(failure);
                }
                self.settings.metrics.attestation(method, AttestationOutcome::Unavailable);
                self.trouble(&fault.to_string());
                self.away();
                return Ok(());
            }
        };
        // The CA is verified from here on. Only now is the token, or the certificate's key, even read.
        if method == AttestationMethod::JoinToken && self.token.is_none() {
            self.token = Some(self.read_token().await?);
        }
        let (node_key, trust_domain) = (Arc::clone(&self.node_key), self.settings.trust_domain.clone());
        let attestor = Attestor {
            connection: &connection,
            trust_domain: &trust_domain,
            node_key: &node_key,
            node: view.node.as_ref(),
            bundle: bundle.as_ref(),
            clock: &clock,
        };
        let outcome = match (method, &self.token) {
            (AttestationMethod::JoinToken, Some(token)) => attestor.by_token(token).await,
            (AttestationMethod::Certificate, _) => return self.attest_by_certificate(&attestor).await,
            (AttestationMethod::ServiceAccount, _) => return self.attest_by_service_account(&attestor).await,
            (AttestationMethod::JoinToken | AttestationMethod::NodeKey, _) => attestor.by_node_key().await,
        };
        match outcome {
            Ok(attested) => self.attested(method, attested).await,
            Err(AttestationFault::Call(forgotten))
                if method == AttestationMethod::NodeKey && forgotten.refusal() == Some(RefusalReason::MustReattest) =>
            {
                self.come_back(&attestor, forgotten).await
            }
            Err(fault) => self.attestation_failed(method, fault),
        }
    }

    /// A first attestation, by what is configured for it.
    ///
    /// # Errors
    /// [`NodeFailure`] when only an operator can help.
    pub(super) async fn join(&mut self) -> Result<(), NodeFailure> {
        let method = match &self.settings.first_proof {
            Some(FirstProof::CertificateDirectory(_)) => AttestationMethod::Certificate,
            Some(FirstProof::ServiceAccountTokenFile(_)) => AttestationMethod::ServiceAccount,
            Some(FirstProof::Token(_)) | None => AttestationMethod::JoinToken,
        };
        self.attest(method).await
    }

    /// The CA has forgotten the node: by a token or a certificate that was given since, it joins anew.
    async fn come_back(&mut self, attestor: &Attestor<'_>, forgotten: CallFault) -> Result<(), NodeFailure> {
        let method = AttestationMethod::NodeKey;
        if let Some(token) = self.token_not_yet_tried().await {
            self.settings.metrics.attestation(method, AttestationOutcome::Refused);
            tracing::info!("the CA does not know this node any more: it attests with the join token that was given since");
            let outcome = attestor.by_token(&token).await;
            return self.rejoined(&token, outcome).await;
        }
        if matches!(self.settings.first_proof, Some(FirstProof::ServiceAccountTokenFile(_))) {
            self.settings.metrics.attestation(method, AttestationOutcome::Refused);
            tracing::info!("the CA does not know this node any more: it attests with the token of its service account");
            return self.attest_by_service_account(attestor).await;
        }
        match self.read_certificate().await {
            Some(Ok(certificate)) if self.certificate_tried != certificate.fingerprint() => {
                self.settings.metrics.attestation(method, AttestationOutcome::Refused);
                tracing::info!("the CA does not know this node any more: it attests with the certificate that was given since");
                self.prove_certificate(attestor, &certificate).await
            }
            Some(Ok(_) | Err(_)) | None => self.attestation_failed(method, AttestationFault::Call(forgotten)),
        }
    }

    /// A certificate that cannot be used does not end the agent: an operator puts another one there.
    async fn attest_by_certificate(&mut self, attestor: &Attestor<'_>) -> Result<(), NodeFailure> {
        match self.read_certificate().await {
            Some(Ok(certificate)) => self.prove_certificate(attestor, &certificate).await,
            Some(Err(error)) => {
                self.settings.metrics.attestation(AttestationMethod::Certificate, AttestationOutcome::Refused);
                self.trouble(&format!("there is no certificate to attest by: {error}"));
                self.failed(Failure::Refused);
                Ok(())
            }
            None => Err(NodeFailure::NoFirstProof),
        }
    }

    async fn prove_certificate(
        &mut self,
        attestor: &Attestor<'_>,
        certificate: &CertificateDirectory,
    ) -> Result<(), NodeFailure> {
        let method = AttestationMethod::Certificate;
        match attestor.by_certificate(certificate).await {
            Ok(attested) => {
                self.certificate_tried = certificate.fingerprint();
                self.attested(method, attested).await
            }
            Err(AttestationFault::Call(used))
                if used.refusal() == Some(RefusalReason::CertificateUsed)
                    && matches!(self.lifecycle.standing(), Standing::Unattested) =>
            {
                // Perhaps by this very node, whose answer was lost: then the CA knows its key.
                match attestor.by_node_key().await {
                    Ok(attested) => self.attested(AttestationMethod::NodeKey, attested).await,
                    Err(_) => self.attestation_failed(method, AttestationFault::Call(used)),
                }
            }
            Err(fault) => {
                let refused = matches!(&fault, AttestationFault::Call(CallFault::Refused { .. }));
                if refused && matches!(self.lifecycle.standing(), Standing::Lapsed(_)) {
                    self.certificate_tried = certificate.fingerprint();
                }
                self.attestation_failed(method, fault)
            }
        }
    }

    /// A token that cannot be used does not end the agent: the next one is written by the kubelet, and its pod may be new.
    async fn attest_by_service_account(&mut self, attestor: &Attestor<'_>) -> Result<(), NodeFailure> {
        let method = AttestationMethod::ServiceAccount;
        let Some(FirstProof::ServiceAccountTokenFile(path)) = self.settings.first_proof.clone() else {
            return Err(NodeFailure::NoFirstProof);
        };
        let read = tokio::task::spawn_blocking(move || web_token_file::read(&path)).await;
        let outcome = match read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(token) => attestor.by_service_account(&token).await,
            Err(error) => {
                self.settings.metrics.attestation(method, AttestationOutcome::Refused);
                self.trouble(&format!("there is no token to attest by: service_account_token_file: {error}"));
                self.failed(Failure::Refused);
                return Ok(());
            }
        };
        match outcome {
            Ok(attested) => self.attested(method, attested).await,
            Err(fault) => self.attestation_failed(method, fault),
        }
    }

    /// What lies in the configured directory now, if one is configured.
    async fn read_certificate(&self) -> Option<Result<CertificateDirectory, CertificateDirectoryError>> {
        let Some(FirstProof::CertificateDirectory(path)) = self.settings.first_proof.clone() else { return None };
        let read = tokio::task::spawn_blocking(move || CertificateDirectory::read(&path)).await;
        Some(read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())))
    }

    /// The configured source of a join token.
    fn token_source(&self) -> Option<TokenSource> {
        match &self.settings.first_proof {
            Some(FirstProof::Token(source)) => Some(source.clone()),
            Some(FirstProof::CertificateDirectory(_) | FirstProof::ServiceAccountTokenFile(_)) | None => None,
        }
    }

    async fn attested(&mut self, method: AttestationMethod, attested: Attested) -> Result<(), NodeFailure> {
        self.settings.metrics.attestation(method, AttestationOutcome::Attested);
        self.take(attested).await;
        Ok(())
    }

    /// What came of a join token for a node that the CA had forgotten. A refusal does not end the agent: it serves what it has,
    /// and takes the next token that the operator gives.
    async fn rejoined(&mut self, token: &JoinToken, outcome: Result<Attested, AttestationFault>) -> Result<(), NodeFailure> {
        let method = AttestationMethod::JoinToken;
        match outcome {
            Ok(attested) => {
                self.token_tried = Some(token.hash());
                self.attested(method, attested).await
            }
            Err(AttestationFault::Call(
                fault @ (CallFault::Unavailable(_) | CallFault::Busy { .. } | CallFault::Deadline(_)),
            )) => self.attestation_failed(method, AttestationFault::Call(fault)),
            Err(fault) => {
                self.token_tried = Some(token.hash());
                self.settings.metrics.attestation(method, AttestationOutcome::Refused);
                self.trouble(&format!(
                    "the CA does not know this node any more, and it did not come back by its join token: {fault}"
                ));
                self.failed(Failure::Refused);
                Ok(())
            }
        }
    }

    /// The token that is configured now, if this process has not tried it: an operator who evicted the node may have put a new
    /// one there.
    async fn token_not_yet_tried(&self) -> Option<JoinToken> {
        let source = self.token_source()?;
        let read = tokio::task::spawn_blocking(move || JoinToken::read_if_there(&source)).await;
        match read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(token) => token.filter(|token| self.token_tried != Some(token.hash())),
            Err(error) => {
                tracing::debug!(%error, "no join token to come back by");
                None
            }
        }
    }

    async fn read_token(&self) -> Result<JoinToken, NodeFailure> {
        let source = self.token_source().ok_or(NodeFailure::NoFirstProof)?;
        let read = tokio::task::spawn_blocking(move || JoinToken::read(&source)).await;
        Ok(read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?)
    }

    fn attestation_failed(&mut self, method: AttestationMethod, fault: AttestationFault) -> Result<(), NodeFailure> {
        if matches!(fault, AttestationFault::Bundle { .. }) {
            self.settings.metrics.alarm(Alarm::BundleRefused);
        }
        let failure = match fault {
            AttestationFault::Call(fault)
                if method == AttestationMethod::JoinToken && fault.refusal() == Some(RefusalReason::Token) =>
            {
                self.settings.metrics.attestation(method, AttestationOutcome::Refused);
                return Err(NodeFailure::TokenRefused(fault));
            }
            AttestationFault::Call(CallFault::Unavailable(_) | CallFault::Busy { .. } | CallFault::Deadline(_)) => Failure::Away,
            AttestationFault::Call(CallFault::Refused { .. } | CallFault::Answer(_))
            | AttestationFault::Answer(_)
            | AttestationFault::OtherNode { .. }
            | AttestationFault::Bundle { .. }
            | AttestationFault::Key(_) => Failure::Refused,
        };
        let outcome = match failure {
            Failure::Away => AttestationOutcome::Unavailable,
            Failure::Refused => AttestationOutcome::Refused,
        };
        self.settings.metrics.attestation(method, outcome);
        self.trouble(&format!("attestation failed: {fault}"));
        self.failed(failure);
        Ok(())
    }

    /// The bundle goes to disk first: a stored SVID then always has one to be used under.
    async fn take(&mut self, attested: Attested) {
        let Attested { node, svid, bundle } = attested;
        tracing::info!(%node, serial = %svid.leaf().serial(), not_after = %svid.leaf().not_after(), "the node is attested");
        warn_of_lapses(&bundle, self.settings.clock.now().into());
        self.store_bundle(Arc::clone(&bundle)).await;
        let is_anew = self.anew.take().is_some();
        if is_anew {
            self.forget_revocation().await;
        }
        self.token_tried = self.token.take().map(|token| token.hash()).or(self.token_tried);
        self.view.send_modify(|view| {
            let mut attested = NodeView { node: Some(node), ..NodeView::clone(view) };
            if is_anew {
                attested.revocation = None;
            }
            attested.set_bundle(bundle);
            *view = Arc::new(attested);
        });
        self.hold(Arc::new(svid)).await;
    }
}

/// Only a root that is not the pinned one ends the agent; all else may heal.
fn pin_mismatch(fault: &ConnectFault) -> Option<NodeFailure> {
    if let ConnectFault::Tls { address, cause: TlsError::PeerRejected { why } } = fault
        && let PeerRejection::Svid(SvidError::PinnedRootDiffers { expected, found }) = why
    {
        return Some(NodeFailure::Fingerprint { address: address.clone(), expected: expected.clone(), found: found.clone() });
    }
    None
}
