//! What a command ends with when it did not do its work: an exit code, and three lines for the person who typed it.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::output_format::OutputFormat;

/// Why a command ended early. The discriminant is the exit code, which `docs/cli.md` promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The work was tried and failed: exit code 1.
    Failed,
    /// The command line does not make sense: exit code 2, as clap's own refusals.
    Usage,
    /// The service understood and said no: exit code 3.
    Refused,
    /// The service could not be reached: exit code 4.
    Unreachable,
    /// What was started goes on, and the command left before its end: exit code 5.
    UnderWay,
    /// What was started was undone, and not by this command: exit code 6.
    RolledBack,
}

impl FailureKind {
    /// The exit code of the process.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Unreachable => 4,
            Self::UnderWay => 5,
            Self::RolledBack => 6,
        }
    }
}

/// An early end: what went wrong, why, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: FailureKind,
    what: String,
    why: Option<String>,
    advice: Option<String>,
}

impl Failure {
    /// Work that was tried and failed.
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self::new(FailureKind::Failed, what)
    }

    /// A service that has not got what was asked for.
    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Self::new(FailureKind::Refused, what)
    }

    /// A command line that does not make sense.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, what)
    }

    /// A service that cannot be reached.
    pub(crate) fn unreachable(what: impl Into<String>) -> Self {
        Self::new(FailureKind::Unreachable, what)
    }

    /// Work that goes on without this command.
    pub(crate) fn under_way(what: impl Into<String>) -> Self {
        Self::new(FailureKind::UnderWay, what)
    }

    /// Work that somebody undid.
    pub(crate) fn rolled_back(what: impl Into<String>) -> Self {
        Self::new(FailureKind::RolledBack, what)
    }

    fn new(kind: FailureKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), why: None, advice: None }
    }

    /// Adds the cause.
    #[must_use]
    pub(crate) fn because(mut self, why: impl Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The outcome of an RPC that was not OK. An answer that the service itself gave is a refusal; one that the
    /// transport made up is an unreachable service.
    pub(crate) fn from_status(doing: &str, status: &Status) -> Self {
        let reason = status.get_details_error_info().map(|info| info.reason);
        let kind = match status.code() {
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded if reason.is_none() => FailureKind::Unreachable,
            Code::Internal | Code::Unknown | Code::DataLoss => FailureKind::Failed,
            Code::Ok
            | Code::Unavailable
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => FailureKind::Refused,
        };
        if status.code() == Code::Unimplemented && reason.is_none() {
            return Self::new(kind, format!("{doing}: the service at this socket does not know this command"))
                .because(
                    "it is another service's socket (the CA and the agent each have their own), or another version of signet",
                )
                .advise("name the right admin socket with `--socket PATH`");
        }
        let verb = match kind {
            FailureKind::Unreachable => "the service did not answer",
            FailureKind::Refused => "the service refused",
            FailureKind::Failed | FailureKind::Usage | FailureKind::UnderWay | FailureKind::RolledBack => "the service failed",
        };
        let message = if status.message().is_empty() { status.code().description() } else { status.message() };
        let why = match reason {
            Some(reason) => format!("{message} ({reason})"),
            None => message.to_owned(),
        };
        Self::new(kind, format!("{doing}: {verb}")).because(why)
    }

    /// Says in which step of a longer work it happened.
    #[must_use]
    pub(crate) fn in_step(mut self, step: &str) -> Self {
        self.what = format!("step \"{step}\": {}", self.what);
        self
    }

    /// The kind, which decides the exit code.
    #[cfg(test)]
    pub(crate) fn kind(&self) -> FailureKind {
        self.kind
    }

    /// One line, for places that show it beside other text.
    pub(crate) fn one_line(&self) -> String {
        match &self.why {
            Some(why) => format!("{}: {}", self.what, why.replace('\n', "; ")),
            None => self.what.clone(),
        }
    }

    /// Writes what is to be said to standard error, in the form asked for, and gives the exit code.
    pub(crate) fn report(&self, format: OutputFormat) -> ExitCode {
        let text = match format {
            OutputFormat::Table => self.lines(),
            // Told apart from a service's log that may stand above it: by its one line, by its separator.
            OutputFormat::Json | OutputFormat::Yaml => format!("{}\n", format.one_of_many(&self.document())),
        };
        // Nobody is left to tell when standard error itself is gone; the exit code still speaks.
        drop(io::stderr().lock().write_all(text.as_bytes()));
        ExitCode::from(self.kind.code())
    }

    fn document(&self) -> Value {
        json!({ "error": self.what, "why": self.why, "try": self.advice, "exit_code": self.kind.code() })
    }

    fn lines(&self) -> String {
        let mut text = format!("error: {}\n", self.what);
        for (label, part) in [("why", &self.why), ("try", &self.advice)] {
            if let Some(part) = part {
                let indent = format!("\n{}", " ".repeat(label.len() + 4));
                text.push_str(&format!("  {label}: {}\n", part.trim_end().replace('\n', &indent)));
            }
        }
        text
    }
}

/// As one line, for logs and for tasks that end with it.
impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.one_line())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn each_kind_has_its_documented_exit_code() {
        use FailureKind::{Failed, Refused, RolledBack, UnderWay, Unreachable, Usage};
        let codes = [Failed, Usage, Refused, Unreachable, UnderWay, RolledBack];
        assert_eq!(codes.map(FailureKind::code), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn an_error_has_the_same_parts_in_both_forms() {
        let failure = Failure::unreachable("no way").because("gone\nfor good").advise("start it");
        assert_eq!(failure.lines(), "error: no way\n  why: gone\n       for good\n  try: start it\n");
        let document = json!({ "error": "no way", "why": "gone\nfor good", "try": "start it", "exit_code": 4 });
        assert_eq!(failure.document(), document);
        assert_eq!(Failure::usage("u").document()["why"], Value::Null);
    }

    #[test]
    fn the_socket_of_another_service_is_called_so() {
        let failure = Failure::from_status("status", &Status::unimplemented(""));
        assert_eq!(failure.kind(), FailureKind::Refused);
        assert!(failure.one_line().contains("another service's socket"), "{failure}");
    }

    #[test]
    fn a_status_of_the_service_is_a_refusal_and_one_of_the_transport_is_not() {
        for (code, kind) in [
            (Code::NotFound, FailureKind::Refused),
            (Code::PermissionDenied, FailureKind::Refused),
            (Code::FailedPrecondition, FailureKind::Refused),
            (Code::InvalidArgument, FailureKind::Refused),
            (Code::AlreadyExists, FailureKind::Refused),
            (Code::Unavailable, FailureKind::Unreachable),
            (Code::DeadlineExceeded, FailureKind::Unreachable),
            (Code::Internal, FailureKind::Failed),
        ] {
            assert_eq!(Failure::from_status("t", &Status::new(code, "m")).kind(), kind, "{code:?}");
        }
        let details = ErrorDetails::with_error_info("NOT_READY", "signet", HashMap::new());
        let said_by_service = Status::with_error_details(Code::Unavailable, "not yet", details);
        let failure = Failure::from_status("t", &said_by_service);
        assert_eq!(failure.kind(), FailureKind::Refused);
        assert_eq!(failure.one_line(), "t: the service refused: not yet (NOT_READY)");
    }
}
