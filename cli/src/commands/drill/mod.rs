//! `drill ...`: whole rotations, watched from start to end, and how long an outage could last.
//!
//! The CA does the work and remembers it: this command asks for it and tells of it. Whoever leaves changes nothing.

mod bars;
mod outage;
mod report;
mod screen;
mod upstream;

use std::path::Path;
use std::time::Duration;

use ca::authority::lifecycle::AuthorityKind;
use proto::v1::{AbortRotationRequest, PlanRotationRequest, RotationReport, StartRotationRequest, WatchRotationRequest};
use runtime::shutdown::{self, Shutdown};
use tonic::{Code, Response, Status, Streaming};

use super::authority::{kind_number, losses};
use crate::admin_client::{authority_admin, request};
use crate::args::{DrillArgs, DrillVerb};
use crate::failure::Failure;
use crate::output::printable;
use crate::output_format::OutputFormat;
pub(super) use report::{kind_text, line, report_json};
use screen::Screen;

/// How long a CA may be away before watching is given up: a restart takes seconds.
const AWAY: u32 = 60;
/// Between two looks whether it is back.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn run(verb: DrillVerb, format: OutputFormat) -> Result<(), Failure> {
    let (kind, args) = match verb {
        DrillVerb::Root(args) => (AuthorityKind::Root, args),
        DrillVerb::Issuer(args) => (AuthorityKind::Issuer, args),
        DrillVerb::Jwt(args) => (AuthorityKind::Jwt, args),
        DrillVerb::Upstream(args) => {
            upstream::require(&args).await?;
            (AuthorityKind::Issuer, args)
        }
        DrillVerb::Outage(args) => return outage::run(&args.socket, format).await,
    };
    if args.dry_run { dry_run(kind, &args, format).await } else { Drill { kind, args }.run(format).await }
}

async fn dry_run(kind: AuthorityKind, args: &DrillArgs, format: OutputFormat) -> Result<(), Failure> {
    let message = PlanRotationRequest { kind: kind_number(kind), natural: args.natural };
    let answer = authority_admin(&args.admin.socket).await?.plan_rotation(request(message)).await;
    let plan = answer.map_err(|status| Failure::from_status("drill --dry-run", &status))?.into_inner();
    let answer = report::plan(&plan);
    if plan.refusal.is_empty() {
        return answer.print(format);
    }
    if format != OutputFormat::Table {
        answer.print(format)?;
    }
    Err(Failure::refused(format!("a drill of the {kind} would be refused")).because(printable(&plan.refusal)))
}

/// A rotation, as this command line asks for it.
struct Drill {
    kind: AuthorityKind,
    args: DrillArgs,
}

/// How a watch ended.
#[derive(Debug)]
enum End {
    /// The last report.
    Outcome(Box<RotationReport>),
    /// The operator left, or the time to watch is over.
    Left,
    /// The CA ended the stream or is gone.
    Lost(Failure),
}

impl Drill {
    async fn run(&self, format: OutputFormat) -> Result<(), Failure> {
        let stop = shutdown::on_signals().map_err(|error| Failure::failed("cannot listen for signals").because(error))?;
        let reports = self.ask().await?;
        let mut screen = Screen::new(format)?;
        let watched = tokio::select! {
            end = self.watch(reports, &stop, &mut screen) => end,
            () = until(self.args.wait) => Ok(End::Left),
        };
        screen.clear();
        match watched? {
            End::Outcome(report) => {
                screen.close(&report)?;
                judge(&report, self.args.abort)
            }
            End::Left => {
                screen.left()?;
                Err(self.goes_on(Failure::under_way(format!("the rotation of the {} goes on without you", self.kind))))
            }
            End::Lost(failure) => Err(self.goes_on(failure)),
        }
    }

    /// Starts, finds or undoes it, as asked; its reports.
    async fn ask(&self) -> Result<Streaming<RotationReport>, Failure> {
        let Self { kind, args } = self;
        let kind = kind_number(*kind);
        let mut admin = authority_admin(&args.admin.socket).await?;
        // A stream has no deadline: it is as long as the rotation.
        let answer = if args.abort {
            admin.abort_rotation(AbortRotationRequest { kind }).await
        } else if args.attach {
            admin.watch_rotation(WatchRotationRequest { kind }).await
        } else {
            let accepted = Some(losses(&args.losses));
            admin.start_rotation(StartRotationRequest { kind, accepted, natural: args.natural }).await
        };
        answer.map(Response::into_inner).map_err(|status| Failure::from_status(&self.doing(), &status))
    }

    /// Shows what comes, also over a restart of the CA: the rotation goes on when it does.
    async fn watch(&self, reports: Streaming<RotationReport>, stop: &Shutdown, screen: &mut Screen) -> Result<End, Failure> {
        let mut reports = reports;
        loop {
            let status = tokio::select! {
                told = told(&mut reports, screen) => match told? {
                    Told::Outcome(report) => return Ok(End::Outcome(report)),
                    Told::Broken(status) => status,
                },
                () = stop.fired() => return Ok(End::Left),
            };
            if !is_away(&status) {
                return Ok(End::Lost(Failure::from_status(&self.doing(), &status)));
            }
            screen.away()?;
            reports = tokio::select! {
                again = reattach(&self.args.admin.socket, self.kind) => match again {
                    Ok(reports) => reports,
                    Err(failure) => return Ok(End::Lost(failure)),
                },
                () = stop.fired() => return Ok(End::Left),
            };
        }
    }

    fn doing(&self) -> String {
        format!("drill {}", self.kind)
    }

    fn goes_on(&self, failure: Failure) -> Failure {
        let kind = self.kind;
        failure.advise(format!("come back with `signet drill {kind} --attach`, or undo it with `signet drill {kind} --abort`"))
    }
}

/// What a stream of reports ended with.
enum Told {
    Outcome(Box<RotationReport>),
    Broken(Status),
}

async fn told(reports: &mut Streaming<RotationReport>, screen: &mut Screen) -> Result<Told, Failure> {
    loop {
        match reports.message().await {
            Ok(Some(report)) if !report.outcome.is_empty() => return Ok(Told::Outcome(Box::new(report))),
            Ok(Some(report)) => screen.show(&report)?,
            Ok(None) => return Ok(Told::Broken(Status::unavailable("the reports ended before the rotation did"))),
            Err(status) => return Ok(Told::Broken(status)),
        }
    }
}

/// Whether the CA is gone for now, in place of having refused.
fn is_away(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown)
}

/// The reports of a CA that has been away.
async fn reattach(socket: &Path, kind: AuthorityKind) -> Result<Streaming<RotationReport>, Failure> {
    let mut last = Failure::unreachable("the CA has gone away");
    for _ in 0..AWAY {
        tokio::time::sleep(LOOK_AGAIN).await;
        let mut admin = match authority_admin(socket).await {
            Ok(admin) => admin,
            Err(failure) => {
                last = failure;
                continue;
            }
        };
        match admin.watch_rotation(WatchRotationRequest { kind: kind_number(kind) }).await {
            Ok(reports) => return Ok(reports.into_inner()),
            Err(status) if is_away(&status) => last = Failure::from_status("drill --attach", &status),
            Err(status) => return Err(Failure::from_status("drill --attach", &status)),
        }
    }
    Err(last)
}

/// After this span; never without one.
async fn until(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}

/// What an outcome is to who asked for it.
fn judge(report: &RotationReport, wanted_back: bool) -> Result<(), Failure> {
    match (report.outcome.as_str(), wanted_back) {
        ("rolled_back", true) => Ok(()),
        ("rolled_back", false) => {
            Err(Failure::rolled_back("the rotation was undone; everything is as before")
                .advise("`signet audit tail` says by whom"))
        }
        ("completed", true) => Err(Failure::refused("it was too late to undo the rotation: it is completed")),
        ("completed", false) if report.probes_failed > 0 => {
            let what =
                format!("the rotation is completed, and {} of {} probes failed meanwhile", report.probes_failed, report.probes);
            Err(Failure::failed(what)
                .because(printable(&report.last_probe_failure))
                .advise("look at the CA's log: a client that trusted the oldest bundle in use was not served"))
        }
        ("completed", false) => Ok(()),
        (other, _) => {
            Err(Failure::failed("the rotation ended in a way that this version of signet does not know")
                .because(printable(other)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;

    fn ended(outcome: &str, probes_failed: u64) -> RotationReport {
        RotationReport { outcome: outcome.to_owned(), probes: 9, probes_failed, ..RotationReport::default() }
    }

    #[test]
    fn each_end_has_its_exit_code() {
        let kind = |report: &RotationReport, wanted_back| judge(report, wanted_back).map_err(|failure| failure.kind());
        assert_eq!(kind(&ended("completed", 0), false), Ok(()));
        assert_eq!(kind(&ended("completed", 1), false), Err(FailureKind::Failed));
        assert_eq!(kind(&ended("rolled_back", 0), false), Err(FailureKind::RolledBack));
        assert_eq!(kind(&ended("rolled_back", 1), true), Ok(()));
        assert_eq!(kind(&ended("completed", 0), true), Err(FailureKind::Refused));
        assert_eq!(kind(&ended("exploded", 0), false), Err(FailureKind::Failed));
    }

    #[test]
    fn a_refusal_is_no_absence() {
        assert!(is_away(&Status::unavailable("CLOSING")) && is_away(&Status::unknown("transport error")));
        assert!(!is_away(&Status::not_found("NO_ROTATION")) && !is_away(&Status::permission_denied("")));
    }
}
