use std::time::SystemTime;

use futures_util::StreamExt;
use proto::v1::authority_admin_server::AuthorityAdmin;
use runtime::clock::TestClock;
use runtime::shutdown::{self, ShutdownTrigger};
use tokio::sync::mpsc;
use tonic::Code;
use tonic::transport::server::Connected;
use tonic_types::StatusExt;

use super::*;
use crate::audit::Actor;
use crate::authority::lifecycle::gate::{Accepted, Waiting};
use crate::authority::lifecycle::rotation::{NoWayBack, Outcome, Phase};
use crate::authority::lifecycle::{Adopted, Event, Lifecycle, Material, Refusal, Slot, apply};
use crate::rotation::{Command, Probes, Request as Asked, RotationStanding};
use crate::store::{LeaseName, StoreError};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn name_of(text: &str) -> AuthorityName {
    text.parse().unwrap()
}

fn first() -> Lifecycle {
    ["root-1", "issuer-1", "jwt-1"].map(name_of).into_iter().fold(Lifecycle::default(), |state, name| {
        let material = Material {
            key: pki::sha256(name.to_string().as_bytes()),
            public_der: Vec::new(),
            not_before: at(1),
            not_after: (name.kind != AuthorityKind::Jwt).then(|| at(100_000)),
        };
        apply(&state, Event::Adopt(Adopted { name, material }), at(1)).unwrap().state
    })
}

fn quiet() -> RotationView {
    RotationView {
        lifecycle: first().into(),
        rotations: Vec::new(),
        facts: Arc::default(),
        bundle_sequence: 3,
        plugged_in: None,
        upstream: None,
        path: Arc::default(),
        key_places: Arc::default(),
        faults: Vec::new(),
        replicas: Arc::default(),
        at: at(1_000),
    }
}

fn standing(outcome: Option<Outcome>) -> RotationStanding {
    RotationStanding {
        rotation: plan::beginning(&first(), AuthorityKind::Root, Pace::Taint, at(1_000)).unwrap(),
        phase: Phase::Prepare,
        began: Vec::new(),
        waits: Vec::new(),
        leaves_most: 0,
        probes: Probes::default(),
        outcome,
    }
}

struct Fixture {
    service: AuthorityAdminService,
    commands: mpsc::Receiver<Command>,
    view: watch::Sender<Arc<RotationView>>,
    stop: ShutdownTrigger,
}

impl Fixture {
    fn of(view: RotationView) -> Self {
        let (view, seen) = watch::channel(Arc::new(view));
        let (rotation, commands) = RotationHandle::new(seen);
        let (stop, shutdown) = shutdown::channel();
        let clock = TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_234));
        Self { service: AuthorityAdminService { rotation, automatic: None, clock, shutdown }, commands, view, stop }
    }

    fn tell(&self, standing: RotationStanding) {
        self.view.send_replace(Arc::new(RotationView { rotations: vec![standing], ..quiet() }));
    }
}

/// The rotation task, as far as these tests need one: answers the next command so, and says what it was.
async fn answer(commands: &mut mpsc::Receiver<Command>, with: Result<Changed, CommandError>) -> (Asked, Actor) {
    let Command { request, actor, answer } = commands.recv().await.unwrap();
    answer.send(with).unwrap();
    (request, actor)
}

fn changed(names: &[&str]) -> Changed {
    Changed { names: names.iter().map(|name| name_of(name)).collect(), unchanged: false, view: Arc::new(quiet()) }
}

/// A request as it comes from a process of this user.
fn from_us<T>(message: T) -> Request<T> {
    let (stream, _other) = tokio::net::UnixStream::pair().unwrap();
    let mut request = Request::new(message);
    request.extensions_mut().insert(stream.connect_info());
    request
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| format!("{}/{}", info.domain, info.reason)).unwrap_or_default()
}

fn us() -> Actor {
    Actor::Operator { uid: nix::unistd::geteuid().as_raw() }
}

fn losses() -> v1::AcceptedLosses {
    v1::AcceptedLosses { nodes: vec!["n3".to_owned()], leaves: 2, tokens: true, files: false }
}

fn taken() -> Accepted {
    Accepted { nodes: [identity::NodeName::parse("n3").unwrap()].into(), leaves: 2, tokens: true, files: false }
}

#[tokio::test]
async fn each_verb_asks_for_what_it_says_and_answers_with_how_it_is() {
    let Fixture { service, mut commands, .. } = Fixture::of(quiet());
    let prepare = service.prepare_authority(from_us(v1::PrepareAuthorityRequest { kind: v1::AuthorityKind::Root.into() }));
    let (told, asked) = tokio::join!(prepare, answer(&mut commands, Ok(changed(&["root-1", "issuer-1"]))));
    assert_eq!(asked, (Asked::Prepare(AuthorityKind::Root), us()));
    let told = told.unwrap().into_inner();
    assert_eq!((told.bundle_sequence, told.unchanged), (3, false));
    assert_eq!(told.authorities.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["root-1", "issuer-1"]);

    let name = || "root-1".to_owned();
    let activate = service.activate_authority(from_us(v1::ActivateAuthorityRequest { name: name(), accepted: Some(losses()) }));
    let (_, asked) = tokio::join!(activate, answer(&mut commands, Ok(changed(&[]))));
    assert_eq!(asked, (Asked::Activate(name_of("root-1"), taken()), us()));
    let taint = service.taint_authority(from_us(v1::TaintAuthorityRequest { name: name() }));
    let (_, asked) = tokio::join!(taint, answer(&mut commands, Ok(changed(&[]))));
    assert_eq!(asked, (Asked::Taint(name_of("root-1")), us()));
    let revoke = service.revoke_authority(from_us(v1::RevokeAuthorityRequest { name: name(), accepted: Some(losses()) }));
    let (_, asked) = tokio::join!(revoke, answer(&mut commands, Ok(changed(&[]))));
    assert_eq!(asked, (Asked::Revoke(name_of("root-1"), taken()), us()));
}

#[tokio::test]
async fn whoever_the_kernel_does_not_name_reaches_nothing() {
    let Fixture { service, mut commands, .. } = Fixture::of(RotationView { rotations: vec![standing(None)], ..quiet() });
    let kind = v1::AuthorityKind::Root.into();
    let name = || "root-1".to_owned();
    // Nobody answers commands here: a call that was let through would not come back.
    let refusals = [
        service.show_authorities(Request::new(v1::ShowAuthoritiesRequest { revoked: true })).await.err(),
        service.prepare_authority(Request::new(v1::PrepareAuthorityRequest { kind })).await.err(),
        service.activate_authority(Request::new(v1::ActivateAuthorityRequest { name: name(), accepted: None })).await.err(),
        service.taint_authority(Request::new(v1::TaintAuthorityRequest { name: name() })).await.err(),
        service.revoke_authority(Request::new(v1::RevokeAuthorityRequest { name: name(), accepted: None })).await.err(),
        service.start_rotation(Request::new(v1::StartRotationRequest { kind, accepted: None, natural: false })).await.err(),
        service.watch_rotation(Request::new(v1::WatchRotationRequest { kind })).await.err(),
        service.abort_rotation(Request::new(v1::AbortRotationRequest { kind })).await.err(),
        service.plan_rotation(Request::new(v1::PlanRotationRequest { kind, natural: false })).await.err(),
    ];
    for (index, refusal) in refusals.into_iter().enumerate() {
        let status = refusal.unwrap_or_else(|| panic!("call {index} went through"));
        assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "signet/NOT_AN_OPERATOR"), "call {index}");
    }
    assert!(commands.try_recv().is_err());
}

#[tokio::test]
async fn a_rotation_is_told_from_its_start_to_its_outcome() {
    let mut fixture = Fixture::of(quiet());
    let start = v1::StartRotationRequest { kind: v1::AuthorityKind::Root.into(), accepted: Some(losses()), natural: true };
    let started = fixture.service.start_rotation(from_us(start));
    let task = async {
        let Command { request, actor, answer } = fixture.commands.recv().await.unwrap();
        fixture.view.send_replace(Arc::new(RotationView { rotations: vec![standing(None)], ..quiet() }));
        answer.send(Ok(changed(&[]))).unwrap();
        (request, actor)
    };
    let (reports, asked) = tokio::join!(started, task);
    assert_eq!(asked, (Asked::Start(AuthorityKind::Root, Pace::Natural, taken()), us()));
    let mut reports = reports.unwrap().into_inner();
    let at_once = reports.next().await.unwrap().unwrap();
    assert_eq!((at_once.phase.as_str(), at_once.outcome.as_str(), at_once.at.unwrap().seconds), ("prepare", "", 1_234));
    fixture.tell(RotationStanding { phase: Phase::Replace, ..standing(None) });
    assert_eq!(reports.next().await.unwrap().unwrap().phase, "replace");
    // Nothing changes, and still there is a report.
    assert_eq!(reports.next().await.unwrap().unwrap().phase, "replace");
    fixture.tell(RotationStanding { phase: Phase::Withdraw, ..standing(Some(Outcome::Completed)) });
    assert_eq!(reports.next().await.unwrap().unwrap().outcome, "completed");
    assert!(reports.next().await.is_none(), "the outcome is the last word");

    // Who comes late is told the outcome.
    let late = fixture.service.watch_rotation(from_us(v1::WatchRotationRequest { kind: v1::AuthorityKind::Root.into() })).await;
    let told: Vec<_> = late.unwrap().into_inner().map(|report| report.unwrap().outcome).collect().await;
    assert_eq!(told, ["completed"]);
}

#[tokio::test]
async fn a_stop_of_the_ca_ends_the_reports_with_its_reason() {
    let Fixture { service, stop, view: _view, commands: _commands, .. } =
        Fixture::of(RotationView { rotations: vec![standing(None)], ..quiet() });
    let watched = service.watch_rotation(from_us(v1::WatchRotationRequest { kind: v1::AuthorityKind::Root.into() })).await;
    let mut reports = watched.unwrap().into_inner();
    reports.next().await.unwrap().unwrap();
    stop.fire();
    let told = loop {
        match reports.next().await.unwrap() {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!((told.code(), reason(&told).as_str()), (Code::Unavailable, "signet/CLOSING"));
    assert!(reports.next().await.is_none());
}

#[tokio::test]
async fn a_plan_asks_for_nothing_and_knows_what_is_under_way() {
    let mut fixture = Fixture::of(quiet());
    let kind = v1::AuthorityKind::Root.into();
    let plan = async |service: &AuthorityAdminService, kind| {
        let request = from_us(v1::PlanRotationRequest { kind, natural: false });
        service.plan_rotation(request).await.unwrap().into_inner()
    };
    let planned = plan(&fixture.service, kind).await;
    assert_eq!((planned.refusal.as_str(), planned.steps.first().unwrap().phase.as_str()), ("", "prepare"));
    fixture.tell(RotationStanding { rotation: Rotation { aborting: true, ..standing(None).rotation }, ..standing(None) });
    assert!(plan(&fixture.service, kind).await.steps.is_empty(), "undone before anything was made");
    fixture.view.send_replace(Arc::new(RotationView { lifecycle: Arc::default(), plugged_in: Some("/x".into()), ..quiet() }));
    let refused = plan(&fixture.service, kind).await;
    assert!(refused.refusal.contains("[authority] directory") && refused.steps.is_empty(), "{refused:?}");
    assert!(fixture.commands.try_recv().is_err());
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_before_anybody_is_asked() {
    let Fixture { service, mut commands, .. } = Fixture::of(quiet());
    let none = service.prepare_authority(from_us(v1::PrepareAuthorityRequest { kind: 0 })).await.unwrap_err();
    assert_eq!((none.code(), reason(&none).as_str()), (Code::InvalidArgument, "signet/AUTHORITY_KIND_INVALID"));
    for bad in ["", "root", "root-0", "root-01", "leaf-1"] {
        let status = service.taint_authority(from_us(v1::TaintAuthorityRequest { name: bad.to_owned() })).await.unwrap_err();
        assert_eq!(reason(&status), "signet/AUTHORITY_NAME_INVALID", "{bad}");
    }
    let losses = v1::AcceptedLosses { nodes: vec!["a/b".to_owned()], ..losses() };
    let request = v1::RevokeAuthorityRequest { name: "root-1".to_owned(), accepted: Some(losses) };
    assert_eq!(reason(&service.revoke_authority(from_us(request)).await.unwrap_err()), "signet/NODE_NAME_INVALID");
    let watched = service.watch_rotation(from_us(v1::WatchRotationRequest { kind: v1::AuthorityKind::Jwt.into() })).await;
    assert_eq!(reason(&watched.err().unwrap()), "signet/NO_ROTATION");
    assert!(commands.try_recv().is_err());
}

#[tokio::test]
async fn each_refusal_has_its_code_its_reason_and_its_way_out() {
    let root = name_of("root-1");
    let nodes = |names: &[&str]| names.iter().map(|name| identity::NodeName::parse(name).unwrap()).collect();
    let waits = vec![
        Waiting::Agents { sequence: 7, behind: nodes(&["n1", "n2"]), absent: nodes(&["n2"]), of: 3 },
        Waiting::Leaves { left: 4, last_end: None },
        Waiting::PropagationHold { until: at(9) },
    ];
    let gate = Refusal::Gate { name: root, waits };
    let accept = "--force --accept-files --accept-leaves 4 --accept-node n1 --accept-node n2";
    let unpublished = Refusal::Gate { name: root, waits: vec![Waiting::Publication] };
    let changed = StoreError::Changed { what: "lifecycle of the", name: "authorities".to_owned() };
    let fenced = StoreError::Fenced { lease: LeaseName::Lead, epoch: 3 };
    let slot = Refusal::Slot { name: root, slot: Slot::Active, way_out: "prepare another".to_owned() };
    for (error, code, expected, text) in [
        (gate.into(), Code::FailedPrecondition, "GATE_CLOSED", accept),
        (unpublished.into(), Code::FailedPrecondition, "GATE_CLOSED", "has not gone out yet"),
        (slot.into(), Code::FailedPrecondition, "AUTHORITY_SLOT", "prepare another"),
        (Refusal::Unknown(root).into(), Code::NotFound, "AUTHORITY_NOT_FOUND", "signet authority show"),
        (Refusal::PluggedIn(AuthorityKind::Root).into(), Code::FailedPrecondition, "AUTHORITY_PLUGGED_IN", "directory"),
        (NoWayBack::Tainted(root).into(), Code::FailedPrecondition, "NO_WAY_BACK", "start another one"),
        (CommandError::NoRotation(AuthorityKind::Root), Code::NotFound, "NO_ROTATION", "no rotation of the root"),
        (CommandError::Store(StoreError::Unavailable("/x: full".to_owned())), Code::Unavailable, "STORE_UNAVAILABLE", "store"),
        (CommandError::Overtaken(changed), Code::Aborted, "AUTHORITIES_CHANGED", "signet authority show"),
        (CommandError::Overtaken(fenced), Code::Aborted, "NOT_LEADING", "lead"),
        (CommandError::Failed("disk full".to_owned()), Code::Internal, "AUTHORITY_STEP_FAILED", "disk full"),
        (CommandError::Closing, Code::Unavailable, "CLOSING", "next start"),
    ] {
        let Fixture { service, mut commands, .. } = Fixture::of(quiet());
        let revoke = service.revoke_authority(from_us(v1::RevokeAuthorityRequest { name: "root-1".to_owned(), accepted: None }));
        let (told, _) = tokio::join!(revoke, answer(&mut commands, Err(error)));
        let status = told.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (code, format!("signet/{expected}")));
        assert!(status.message().contains(text) && !status.message().contains("/x"), "{}", status.message());
        assert_eq!(status.message().contains("--force"), text == accept, "{}", status.message());
    }
}
