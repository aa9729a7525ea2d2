//! The AuthorityAdmin service: the operator's hand on the CA's own authorities, over the same Unix socket as Admin and for the same callers.
//!
//! Owns the checks of what is asked and the reports of what goes on; what happens is the rotation task's, which goes on whether somebody
//! watches or not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt, unfold};
use identity::ReplicaName;
use pki::Timestamp;
use proto::v1;
use runtime::clock::Clock;
use runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::authority::lifecycle::rotation::{Pace, Rotation};
use crate::authority::lifecycle::schedule::Policy;
use crate::authority::lifecycle::{AuthorityKind, AuthorityName, plan};
use crate::rotation::{Changed, CommandError, RotationHandle, RotationView};
use crate::rpc::admin::operator;
use crate::rpc::authority_status::AuthorityAdminError;
use crate::rpc::authority_wire as wire;

/// A report goes out at least this often: whoever watches sees that the CA is there, and time going by.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The service; its parts are given by the server.
pub(crate) struct AuthorityAdminService {
    /// What it asks and sees.
    pub(crate) rotation: RotationHandle,
    /// How authorities are replaced without being asked; `None`: they are not.
    pub(crate) automatic: Option<Policy>,
    /// For the time of reports.
    pub(crate) clock: Arc<dyn Clock>,
    /// Ends the streams that report.
    pub(crate) shutdown: Shutdown,
}

type Answer<T> = Result<Response<T>, Status>;
type Reports = BoxStream<'static, Result<v1::RotationReport, Status>>;

impl AuthorityAdminService {
    fn now(&self) -> Timestamp {
        self.clock.now().into()
    }

    fn view(&self) -> Arc<RotationView> {
        self.rotation.view().borrow().clone()
    }

    fn change(&self, changed: Result<Changed, CommandError>) -> Answer<v1::AuthorityChange> {
        let Changed { names, unchanged, view } = changed.map_err(AuthorityAdminError::Command)?;
        let authorities = wire::these(&view, names, self.automatic, self.now());
        Ok(Response::new(v1::AuthorityChange { authorities, unchanged, bundle_sequence: view.bundle_sequence }))
    }

    fn reports(&self, kind: AuthorityKind) -> Reports {
        let watching = Watching {
            view: self.rotation.view(),
            kind,
            clock: Arc::clone(&self.clock),
            shutdown: self.shutdown.clone(),
            next: Next::Now,
        };
        unfold(watching, async |mut watching| watching.report().await.map(|report| (report, watching))).boxed()
    }
}

#[tonic::async_trait]
impl v1::authority_admin_server::AuthorityAdmin for AuthorityAdminService {
    async fn show_authorities(&self, request: Request<v1::ShowAuthoritiesRequest>) -> Answer<v1::Authorities> {
        operator(request.extensions())?;
        let v1::ShowAuthoritiesRequest { revoked } = request.into_inner();
        Ok(Response::new(wire::authorities(&self.view(), revoked, self.automatic, self.now())))
    }

    async fn prepare_authority(&self, request: Request<v1::PrepareAuthorityRequest>) -> Answer<v1::AuthorityChange> {
        let actor = operator(request.extensions())?;
        let v1::PrepareAuthorityRequest { kind } = request.into_inner();
        self.change(self.rotation.prepare(wire::kind(kind)?, actor).await)
    }

    async fn activate_authority(&self, request: Request<v1::ActivateAuthorityRequest>) -> Answer<v1::AuthorityChange> {
        let actor = operator(request.extensions())?;
        let v1::ActivateAuthorityRequest { name, accepted } = request.into_inner();
        self.change(self.rotation.activate(named(&name)?, wire::accepted(accepted)?, actor).await)
    }

    async fn taint_authority(&self, request: Request<v1::TaintAuthorityRequest>) -> Answer<v1::AuthorityChange> {
        let actor = operator(request.extensions())?;
        let v1::TaintAuthorityRequest { name } = request.into_inner();
        self.change(self.rotation.taint(named(&name)?, actor).await)
    }

    async fn revoke_authority(&self, request: Request<v1::RevokeAuthorityRequest>) -> Answer<v1::AuthorityChange> {
        let actor = operator(request.extensions())?;
        let v1::RevokeAuthorityRequest { name, accepted } = request.into_inner();
        self.change(self.rotation.revoke(named(&name)?, wire::accepted(accepted)?, actor).await)
    }

    async fn remove_replica(&self, request: Request<v1::RemoveReplicaRequest>) -> Answer<v1::AuthorityChange> {
        let actor = operator(request.extensions())?;
        let v1::RemoveReplicaRequest { name } = request.into_inner();
        let replica = ReplicaName::parse(&name).map_err(AuthorityAdminError::Replica)?;
        self.change(self.rotation.remove_replica(replica, actor).await)
    }

    type StartRotationStream = Reports;

    async fn start_rotation(&self, request: Request<v1::StartRotationRequest>) -> Answer<Reports> {
        let actor = operator(request.extensions())?;
        let v1::StartRotationRequest { kind, accepted, natural } = request.into_inner();
        let kind = wire::kind(kind)?;
        let started = self.rotation.start(kind, pace(natural), wire::accepted(accepted)?, actor).await;
        started.map_err(AuthorityAdminError::Command)?;
        Ok(Response::new(self.reports(kind)))
    }

    type WatchRotationStream = Reports;

    async fn watch_rotation(&self, request: Request<v1::WatchRotationRequest>) -> Answer<Reports> {
        operator(request.extensions())?;
        let v1::WatchRotationRequest { kind } = request.into_inner();
        let kind = wire::kind(kind)?;
        if self.view().rotation(kind).is_none() {
            return Err(AuthorityAdminError::NothingToWatch(kind).into());
        }
        Ok(Response::new(self.reports(kind)))
    }

    type AbortRotationStream = Reports;

    async fn abort_rotation(&self, request: Request<v1::AbortRotationRequest>) -> Answer<Reports> {
        let actor = operator(request.extensions())?;
        let v1::AbortRotationRequest { kind } = request.into_inner();
        let kind = wire::kind(kind)?;
        self.rotation.abort(kind, actor).await.map_err(AuthorityAdminError::Command)?;
        Ok(Response::new(self.reports(kind)))
    }

    async fn plan_rotation(&self, request: Request<v1::PlanRotationRequest>) -> Answer<v1::RotationPlan> {
        operator(request.extensions())?;
        let v1::PlanRotationRequest { kind, natural } = request.into_inner();
        let (view, now) = (self.view(), self.now());
        let kind = wire::kind(kind)?;
        let under_way = wire::under_way(&view).find(|standing| standing.rotation.from.kind == kind);
        // Of one that is under way, what is left to do.
        let rotation: Result<Rotation, _> = match under_way {
            Some(standing) => Ok(standing.rotation.clone()),
            None => plan::beginning(&view.lifecycle, kind, pace(natural), now),
        };
        let planned = rotation.and_then(|rotation| plan::plan(&rotation, &view.lifecycle, &view.facts, now));
        Ok(Response::new(wire::plan(planned)))
    }
}

fn named(text: &str) -> Result<AuthorityName, AuthorityAdminError> {
    Ok(text.parse()?)
}

fn pace(natural: bool) -> Pace {
    if natural { Pace::Natural } else { Pace::Taint }
}

/// When the next report goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Now,
    Later,
    Never,
}

/// One who watches a rotation.
struct Watching {
    view: watch::Receiver<Arc<RotationView>>,
    kind: AuthorityKind,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
    next: Next,
}

impl Watching {
    /// The next report; none after one with an outcome, and none after an error.
    async fn report(&mut self) -> Option<Result<v1::RotationReport, Status>> {
        let is_going = match self.next {
            Next::Never => return None,
            Next::Now => true,
            Next::Later => tokio::select! {
                changed = self.view.changed() => changed.is_ok(),
                () = tokio::time::sleep(REPORT_INTERVAL) => true,
                () = self.shutdown.fired() => false,
            },
        };
        self.next = Next::Never;
        if !is_going {
            return Some(Err(AuthorityAdminError::Command(CommandError::Closing).into()));
        }
        let view = self.view.borrow_and_update().clone();
        let Some(standing) = view.rotation(self.kind) else {
            return Some(Err(AuthorityAdminError::NothingToWatch(self.kind).into()));
        };
        if standing.outcome.is_none() {
            self.next = Next::Later;
        }
        Some(Ok(wire::report(&view, standing, self.clock.now().into())))
    }
}

#[cfg(test)]
mod tests;
