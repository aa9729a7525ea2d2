//! A drill on a terminal: a bar for each phase, what is awaited below, redrawn in place.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use proto::v1::RotationReport;

use super::report::{Bar, BarState, bars, elapsed, waits};
use crate::failure::Failure;
use crate::output::printable;

/// Waits that have a line each; the rest is a number.
const WAITS_SHOWN: usize = 6;

/// The lines on the terminal.
pub(super) struct Bars {
    all: MultiProgress,
    head: ProgressBar,
    phases: Vec<ProgressBar>,
    below: Vec<ProgressBar>,
}

impl Bars {
    /// Nothing drawn yet.
    ///
    /// # Errors
    /// [`Failure`] when a style of ours is none.
    pub(super) fn new() -> Result<Self, Failure> {
        let style = |template| {
            ProgressStyle::with_template(template).map_err(|error| Failure::failed("cannot draw progress").because(error))
        };
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let text = style("{wide_msg}")?;
        let head = all.add(ProgressBar::new(0).with_style(text));
        let phase = style("  {prefix:<10} [{bar:24}] {wide_msg}")?.progress_chars("=> ");
        let phases = std::iter::repeat_with(|| all.add(ProgressBar::new(1).with_style(phase.clone()))).take(4).collect();
        // Names of nodes stand at the end: these lines are wrapped, not cut.
        let wrapped = style("{msg}")?;
        let below = std::iter::repeat_with(|| all.add(ProgressBar::new(0).with_style(wrapped.clone()))).take(WAITS_SHOWN + 1);
        let below = below.collect();
        Ok(Self { all, head, phases, below })
    }

    /// Draws a report in place of the one before.
    pub(super) fn show(&self, report: &RotationReport) {
        say(&self.head, heading(report));
        for (line, bar) in self.phases.iter().zip(bars(report)) {
            let Bar { label, state, done, of, note } = bar;
            // Each change draws all lines anew: what is so already is not set.
            if line.prefix() != label {
                line.set_prefix(label);
            }
            if line.length() != Some(of) {
                line.set_length(of);
            }
            if line.position() != done {
                line.set_position(done);
            }
            say(
                line,
                match state {
                    BarState::Ahead => String::new(),
                    BarState::Going => note,
                    BarState::Done => "done".to_owned(),
                },
            );
        }
        let mut lines = below(&waits(report)).into_iter();
        for line in &self.below {
            say(line, lines.next().unwrap_or_default());
        }
    }

    /// Says that the CA is gone for now.
    pub(super) fn away(&self) {
        say(&self.head, "the CA has gone away; the rotation goes on when it is back".to_owned());
    }

    /// Takes all of it from the terminal.
    pub(super) fn clear(&self) {
        // Each is over: one that is not would be drawn again when it is dropped, over what was printed meanwhile.
        for line in self.below.iter().chain(&self.phases).chain([&self.head]) {
            line.finish_and_clear();
        }
        // A terminal that is gone needs no clearing.
        drop(self.all.clear());
    }
}

fn say(line: &ProgressBar, text: String) {
    if line.message() != text {
        line.set_message(text);
    }
}

fn heading(report: &RotationReport) -> String {
    let (from, to) = (printable(&report.from), printable(&report.to));
    let to = if to.is_empty() { "its successor" } else { &to };
    let what = if report.aborting { "is being undone" } else { "is under way" };
    format!("{from} to {to} {what}, {}", humantime::format_duration(elapsed(report)))
}

/// The lines below the bars.
fn below(waits: &[String]) -> Vec<String> {
    let mut lines: Vec<_> = waits.iter().take(WAITS_SHOWN).map(|wait| format!("  awaited: {wait}")).collect();
    match waits.len().saturating_sub(WAITS_SHOWN) {
        0 => {}
        more => lines.push(format!("  and {more} more")),
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_good_and_long_lists_are_cut() {
        Bars::new().unwrap().show(&RotationReport { phase: "distribute".to_owned(), ..RotationReport::default() });
        let waits: Vec<_> = (0..9).map(|number| number.to_string()).collect();
        assert_eq!(below(&waits).len(), WAITS_SHOWN + 1);
        assert_eq!(below(&waits).last().unwrap(), "  and 3 more");
        assert_eq!(below(&waits[..1]), ["  awaited: 0"]);
    }

    #[test]
    fn the_heading_names_both_and_the_time() {
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let report =
            RotationReport { from: "root-1".to_owned(), started_at: time(100), at: time(165), ..RotationReport::default() };
        assert_eq!(heading(&report), "root-1 to its successor is under way, 1m 5s");
        let undone = RotationReport { to: "root-2".to_owned(), aborting: true, ..report };
        assert_eq!(heading(&undone), "root-1 to root-2 is being undone, 1m 5s");
    }
}
