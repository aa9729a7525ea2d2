//! The KubernetesAdmin service: what the CA keeps in a cluster, over the same Unix socket as Admin and for the same callers.

use std::sync::Arc;

use kubernetes::names::{is_label, is_name};
use proto::v1;
use runtime::clock::Clock;
use tonic::{Request, Response, Status};

use crate::audit::{AccountSecretAction, Action, Actor, AuditEvent};
use crate::cluster_objects::secrets::{AccountSecretState, SecretOperator, SecretRow};
use crate::cluster_objects::trust::{TrustObjects, TrustRow, TrustState};
use crate::rotation::facts::ClusterReceivers;
use crate::rpc::admin::operator;
use crate::rpc::admin_status::AdminError;
use crate::rpc::wire::timestamp;
use crate::store::Store;

/// The most of a page.
const MAX_ROWS: usize = 1000;

/// The service; its part is given by the server.
pub(crate) struct KubernetesAdminService {
    /// `None` where the configuration asks for no Secrets.
    pub(crate) secrets: Option<Arc<SecretOperator>>,
    /// `None` where the configuration asks for no objects that show whom to trust.
    pub(crate) trust: Option<Arc<TrustObjects>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl KubernetesAdminService {
    fn secrets(&self) -> Result<&SecretOperator, AdminError> {
        self.secrets.as_deref().ok_or(AdminError::NoSecrets)
    }

    /// Before it is done.
    async fn record(&self, actor: Actor, action: AccountSecretAction) -> Result<(), AdminError> {
        let event = AuditEvent { actor, action: Action::AccountSecrets(action) };
        self.store.note(event, self.clock.now().into()).await.map_err(AdminError::Store)
    }
}

#[tonic::async_trait]
impl v1::kubernetes_admin_server::KubernetesAdmin for KubernetesAdminService {
    async fn list_account_secrets(
        &self,
        request: Request<v1::ListAccountSecretsRequest>,
    ) -> Result<Response<v1::ListAccountSecretsResponse>, Status> {
        operator(request.extensions())?;
        let v1::ListAccountSecretsRequest { namespace, left_only, after } = request.into_inner();
        let namespace = if namespace.is_empty() { None } else { Some(namespace_name(namespace)?) };
        let secrets = self.secrets()?;
        let after = after.split_once('/').map(|(namespace, account)| (namespace.to_owned(), account.to_owned()));
        let (rows, more) = secrets.page(namespace.as_deref(), left_only, after.as_ref(), MAX_ROWS);
        let next = rows.last().filter(|_| more).map(|row| format!("{}/{}", row.namespace, row.account)).unwrap_or_default();
        Ok(Response::new(v1::ListAccountSecretsResponse {
            secrets: rows.into_iter().map(wire).collect(),
            next,
            leads: secrets.leads(),
            sweep_left: number(secrets.swept()),
        }))
    }

    async fn renew_account_secrets(
        &self,
        request: Request<v1::RenewAccountSecretsRequest>,
    ) -> Result<Response<v1::RenewAccountSecretsResponse>, Status> {
        let actor = operator(request.extensions())?;
        let v1::RenewAccountSecretsRequest { namespace, account } = request.into_inner();
        let namespace = namespace_name(namespace)?;
        let account = if account.is_empty() { None } else { Some(account_name(account)?) };
        let secrets = self.secrets()?;
        if !secrets.leads() {
            return Err(AdminError::NotLeading.into());
        }
        let ordered = AccountSecretAction::RenewalOrdered { namespace: namespace.clone(), account: account.clone() };
        self.record(actor.clone(), ordered).await?;
        let count = secrets.renew(&namespace, account.as_deref());
        tracing::info!(?actor, namespace, account, count, "Secrets of service accounts are to be issued anew");
        Ok(Response::new(v1::RenewAccountSecretsResponse { secrets: number(count) }))
    }

    async fn explain_account_secret(
        &self,
        request: Request<v1::ExplainAccountSecretRequest>,
    ) -> Result<Response<v1::ExplainAccountSecretResponse>, Status> {
        operator(request.extensions())?;
        let v1::ExplainAccountSecretRequest { namespace, account } = request.into_inner();
        let key = (namespace_name(namespace)?, account_name(account)?);
        Ok(Response::new(v1::ExplainAccountSecretResponse { lines: self.secrets()?.explain(&key) }))
    }

    async fn prune_account_secrets(
        &self,
        request: Request<v1::PruneAccountSecretsRequest>,
    ) -> Result<Response<v1::PruneAccountSecretsResponse>, Status> {
        let actor = operator(request.extensions())?;
        let v1::PruneAccountSecretsRequest { namespace, dry_run } = request.into_inner();
        let namespace = namespace_name(namespace)?;
        let secrets = self.secrets()?;
        if !dry_run {
            self.record(actor.clone(), AccountSecretAction::PruneOrdered { namespace: namespace.clone() }).await?;
        }
        let pruned = secrets.prune(&namespace, dry_run).await.map_err(AdminError::ApiServer)?;
        let accounts: Vec<_> = pruned.into_iter().map(|(_, account)| account).collect();
        if !dry_run {
            tracing::info!(?actor, namespace, count = accounts.len(), "Secrets that were left were deleted");
        }
        Ok(Response::new(v1::PruneAccountSecretsResponse { accounts }))
    }

    async fn list_trust_objects(
        &self,
        request: Request<v1::ListTrustObjectsRequest>,
    ) -> Result<Response<v1::ListTrustObjectsResponse>, Status> {
        operator(request.extensions())?;
        let trust = self.trust.as_deref().ok_or(AdminError::NoTrust)?;
        let (rows, standing) = (trust.rows(), trust.standing());
        let more = rows.len().saturating_sub(MAX_ROWS);
        Ok(Response::new(v1::ListTrustObjectsResponse {
            objects: rows.into_iter().take(MAX_ROWS).map(wire_trust).collect(),
            more: number(more),
            leads: trust.leads(),
            bundle_sequence: standing.sequence,
            written_at: standing.written_at.map(timestamp),
        }))
    }
}

fn namespace_name(text: String) -> Result<String, AdminError> {
    if is_label(&text) { Ok(text) } else { Err(AdminError::KubernetesName("a namespace")) }
}

fn account_name(text: String) -> Result<String, AdminError> {
    if is_name(&text) { Ok(text) } else { Err(AdminError::KubernetesName("a service account")) }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn wire_trust(row: TrustRow) -> v1::TrustObject {
    let TrustRow { key: (what, name), state, trouble } = row;
    let state = match state {
        TrustState::Current => v1::TrustObjectState::Current,
        TrustState::Behind => v1::TrustObjectState::Behind,
        TrustState::Left => v1::TrustObjectState::Left,
        TrustState::Absent => v1::TrustObjectState::Absent,
    };
    v1::TrustObject { what, name, state: state.into(), why: trouble.unwrap_or_default() }
}

fn wire(row: SecretRow) -> v1::AccountSecret {
    let SecretRow { namespace, account, state, why, serial, not_after, due } = row;
    let state = match state {
        AccountSecretState::Good => v1::AccountSecretState::Good,
        AccountSecretState::Pending => v1::AccountSecretState::Pending,
        AccountSecretState::Left => v1::AccountSecretState::Left,
        AccountSecretState::Alien => v1::AccountSecretState::Alien,
        AccountSecretState::TooLong => v1::AccountSecretState::TooLong,
    };
    v1::AccountSecret {
        namespace,
        account,
        state: state.into(),
        why,
        serial: serial.map(|serial| serial.to_string()).unwrap_or_default(),
        not_after: not_after.map(timestamp),
        due_at: due.map(timestamp),
    }
}
