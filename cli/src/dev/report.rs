//! The steps of `dev`, told as they are done: a tick per step, or one document at the end.

use std::sync::Arc;
use std::time::Duration;

use runtime::clock::Clock;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Answer, Tone, over_passing, print_line, print_passing, toned};
use crate::output_format::OutputFormat;

/// What was done so far.
pub(super) struct Report {
    clock: Arc<dyn Clock>,
    format: OutputFormat,
    began: Duration,
    step: Option<(&'static str, Duration)>,
    done: Vec<Value>,
}

impl Report {
    pub(super) fn new(clock: Arc<dyn Clock>, format: OutputFormat) -> Self {
        let began = clock.boottime();
        Self { clock, format, began, step: None, done: Vec::new() }
    }

    pub(super) fn format(&self) -> OutputFormat {
        self.format
    }

    /// A step begins.
    pub(super) fn begin(&mut self, step: &'static str) {
        self.step = Some((step, self.clock.boottime()));
        if self.format == OutputFormat::Table {
            print_passing(&toned(&format!("… {step}"), Tone::Quiet));
        }
    }

    /// The step is done; `facts` are shown below it.
    pub(super) fn tick(&mut self, facts: &[String]) -> Result<(), Failure> {
        let Some((step, since)) = self.step.take() else { return Ok(()) };
        let took = self.clock.boottime().saturating_sub(since).as_secs_f64();
        self.done.push(json!({ "step": step, "ok": true, "seconds": took, "facts": facts }));
        if self.format == OutputFormat::Table {
            let (tick, took) = (toned("✓", Tone::Good), toned(&format!("({took:.1} s)"), Tone::Quiet));
            print_line(&format!("{}{tick} {step} {took}", over_passing()))?;
            for fact in facts {
                print_line(&format!("    {}", fact.trim_end().replace('\n', "\n    ")))?;
            }
        }
        Ok(())
    }

    /// No more of a step that was under way will be told: what follows begins on a line of its own.
    pub(super) fn leave(&mut self) {
        if self.step.take().is_some() && self.format == OutputFormat::Table {
            print_passing("\n");
        }
    }

    /// The end of the story: the failure names the step that it happened in.
    pub(super) fn conclude(&mut self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        let took = self.clock.boottime().saturating_sub(self.began).as_secs_f64();
        let failed = outcome.as_ref().err().map(Failure::one_line);
        let step = self.step.take().map(|(step, _)| step);
        if let Some(why) = &failed {
            self.done.push(json!({ "step": step, "ok": false, "why": why }));
        }
        let json = json!({ "ok": outcome.is_ok(), "seconds": took, "steps": self.done });
        let text = match step {
            _ if outcome.is_ok() => format!("\nall {} steps done in {took:.1} s", self.done.len()),
            Some(step) => format!("{}{} {step}", over_passing(), toned("✗", Tone::Bad)),
            None => toned("✗", Tone::Bad),
        };
        Answer::text(text, json).print(self.format)?;
        outcome.map_err(|failure| match step {
            Some(step) => failure.in_step(step),
            None => failure,
        })
    }
}
