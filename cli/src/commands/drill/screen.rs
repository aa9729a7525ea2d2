//! Where the reports of a rotation go: bars on a terminal, lines elsewhere, events for programs.

use std::io::{self, IsTerminal};

use proto::v1::RotationReport;
use serde_json::json;

use super::bars::Bars;
use super::report::{closing, essence, event, line};
use crate::failure::Failure;
use crate::output::{print_line, time_text};
use crate::output_format::OutputFormat;

/// One who is told of a rotation.
pub(super) struct Screen {
    way: Way,
    /// What was told last.
    last: Option<RotationReport>,
}

enum Way {
    /// A person looks on.
    Bars(Bars),
    /// A file or a pipe; a line when something changed.
    Lines,
    /// A program; a document when something changed.
    Events(OutputFormat),
}

impl Screen {
    /// The way that fits the form asked for and where standard output goes.
    ///
    /// # Errors
    /// [`Failure`] when bars cannot be drawn.
    pub(super) fn new(format: OutputFormat) -> Result<Self, Failure> {
        let way = match format {
            OutputFormat::Table if io::stdout().is_terminal() => Way::Bars(Bars::new()?),
            OutputFormat::Table => Way::Lines,
            OutputFormat::Json | OutputFormat::Yaml => Way::Events(format),
        };
        Ok(Self { way, last: None })
    }

    /// Tells a report, if it says something new.
    ///
    /// # Errors
    /// [`Failure`] when standard output is gone.
    pub(super) fn show(&mut self, report: &RotationReport) -> Result<(), Failure> {
        let is_new = is_new(&mut self.last, report);
        match &self.way {
            Way::Bars(bars) => {
                bars.show(report);
                Ok(())
            }
            Way::Lines if is_new => print_line(&format!("{}  {}", time_text(report.at.as_ref()), line(report))),
            Way::Events(format) if is_new => print_line(&format.one_of_many(&event("progress", report))),
            Way::Lines | Way::Events(_) => Ok(()),
        }
    }

    /// Says that nothing comes for now.
    ///
    /// # Errors
    /// [`Failure`] when standard output is gone.
    pub(super) fn away(&mut self) -> Result<(), Failure> {
        self.last = None;
        match &self.way {
            Way::Bars(bars) => {
                bars.away();
                Ok(())
            }
            Way::Lines => print_line("the CA has gone away; the rotation goes on when it is back"),
            Way::Events(format) => print_line(&format.one_of_many(&json!({ "event": "away" }))),
        }
    }

    /// Takes what is redrawn from the terminal, so that what follows stands alone.
    pub(super) fn clear(&self) {
        if let Way::Bars(bars) = &self.way {
            bars.clear();
        }
    }

    /// The report at the end.
    ///
    /// # Errors
    /// [`Failure`] when standard output is gone.
    pub(super) fn close(&self, report: &RotationReport) -> Result<(), Failure> {
        match &self.way {
            Way::Bars(_) | Way::Lines => print_line(&closing(report)),
            Way::Events(format) => print_line(&format.one_of_many(&event(&report.outcome, report))),
        }
    }

    /// That the command ends before the rotation does; people are told on standard error.
    ///
    /// # Errors
    /// [`Failure`] when standard output is gone.
    pub(super) fn left(&self) -> Result<(), Failure> {
        match &self.way {
            Way::Events(format) => print_line(&format.one_of_many(&json!({ "event": "detached" }))),
            Way::Bars(_) | Way::Lines => Ok(()),
        }
    }
}

/// Whether a report says something that the last one did not; remembers it then.
fn is_new(last: &mut Option<RotationReport>, report: &RotationReport) -> bool {
    let said = Some(essence(report));
    let is_new = *last != said;
    *last = said;
    is_new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_alone_is_no_news() {
        let mut last = None;
        let report = RotationReport { agents: 3, probes: 1, ..RotationReport::default() };
        assert!(is_new(&mut last, &report));
        let later = prost_types::Timestamp { seconds: 9, nanos: 0 };
        assert!(!is_new(&mut last, &RotationReport { at: Some(later), probes: 2, ..report.clone() }));
        assert!(is_new(&mut last, &RotationReport { agents_on_sequence: 1, ..report.clone() }));
        assert!(is_new(&mut last, &RotationReport { probes_failed: 1, ..report }));
    }
}
