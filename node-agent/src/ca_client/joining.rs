//! Attestation as a step of the node's life: verify the CA, only then read the token, prove, take the answer.

use std::sync::Arc;

use mtls::{PeerRejection, TlsError};
use pki::SvidError;

use super::attestation::{AttestationFault, Attested, Attestor};
use super::connection::{self, CaConnection, ConnectFault};
use super::fault::{CallFault, RefusalReason};
use super::lifecycle::Failure;
use super::node::{NodeClient, NodeFailure};
use super::view::NodeView;
use crate::metrics::{Alarm, AttestationMethod, AttestationOutcome};
use crate::token::JoinToken;

impl NodeClient {
    /// Attests by one of the two methods, over a connection of its own.
    ///
    /// # Errors
    /// [`NodeFailure`] when only an operator can help.
    pub(super) async fn attest(&mut self, method: AttestationMethod) -> Result<(), NodeFailure> {
        let view = Arc::clone(&self.view.borrow());
        let clock = Arc::clone(&self.settings.clock);
        let tls = match (&view.bundle, self.settings.pin) {
            (Some(bundle), _) => connection::tls_under_bundle(bundle, None, &clock),
            (None, Some(pin)) => connection::tls_under_pin(pin, &self.settings.trust_domain, &clock),
            (None, None) => return Err(NodeFailure::NoTrust),
        };
        let connection = match CaConnection::open(&self.settings.ca_address, &tls).await {
            Ok(connection) => connection,
            Err(fault) => {
                if let Some(failure) = pin_mismatch(&fault) {
                    return Err(failure);
                }
                self.settings.metrics.attestation(method, AttestationOutcome::Unavailable);
                self.trouble(&fault.to_string());
                self.failed(Failure::Away);
                return Ok(());
            }
        };
        // The CA is verified from here on. Only now is the token even read.
        if method == AttestationMethod::JoinToken && self.token.is_none() {
            self.token = Some(self.read_token().await?);
        }
        let (node_key, trust_domain) = (Arc::clone(&self.node_key), self.settings.trust_domain.clone());
        let attestor = Attestor {
            connection: &connection,
            trust_domain: &trust_domain,
            node_key: &node_key,
            node: view.node.as_ref(),
            bundle: view.bundle.as_ref(),
            clock: &clock,
        };
        if method == AttestationMethod::JoinToken
            && let Some(token) = &self.token
        {
            return match attestor.by_token(token).await {
                Ok(attested) => self.attested(method, attested).await,
                Err(fault) => self.attestation_failed(method, fault),
            };
        }
        match attestor.by_node_key().await {
            Ok(attested) => self.attested(method, attested).await,
            Err(AttestationFault::Call(forgotten)) if forgotten.refusal() == Some(RefusalReason::MustReattest) => {
                match self.token_not_yet_tried().await {
                    Some(token) => {
                        self.settings.metrics.attestation(method, AttestationOutcome::Refused);
                        tracing::info!(
                            "the CA does not know this node any more: it attests with the join token that was given since"
                        );
                        let outcome = attestor.by_token(&token).await;
                        self.rejoined(&token, outcome).await
                    }
                    None => self.attestation_failed(method, AttestationFault::Call(forgotten)),
                }
            }
            Err(fault) => self.attestation_failed(method, fault),
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
            Err(AttestationFault::Call(fault @ (CallFault::Unavailable(_) | CallFault::Deadline(_)))) => {
                self.attestation_failed(method, AttestationFault::Call(fault))
            }
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
        let source = self.settings.join_token.clone()?;
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
        let source = self.settings.join_token.clone().ok_or(NodeFailure::NoToken)?;
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
            AttestationFault::Call(CallFault::Unavailable(_) | CallFault::Deadline(_)) => Failure::Away,
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
        self.store_bundle(Arc::clone(&bundle)).await;
        self.token_tried = self.token.take().map(|token| token.hash()).or(self.token_tried);
        self.view.send_modify(|view| {
            *view = Arc::new(NodeView { node: Some(node), bundle: Some(bundle), ..NodeView::clone(view) });
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
