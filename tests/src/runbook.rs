//! A runbook of docs/runbooks, as a drill: the commands that stand in it are run, and what it says that one sees must be seen.
//!
//! A block of the kind `console` has commands behind a prompt that names the machine, `ca$` or `node$`, and below each what one sees, where `...`
//! stands for anything. A command that is shown to end with `error:` must fail, every other one must not. Words in capitals that the
//! page explains (`SERIAL`) are given by the drill.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{TestBed, signet_binary};

/// Where a command is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunbookHost {
    /// The CA's machine.
    Ca,
    /// A node.
    Node,
}

/// A command and what one sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunbookStep {
    /// Where it is typed.
    pub host: RunbookHost,
    /// The line, or lines that a backslash joins.
    pub command: String,
    /// What it is said to print.
    pub seen: Vec<String>,
}

/// A page.
pub struct Runbook {
    name: String,
    steps: Vec<RunbookStep>,
}

/// A machine for the commands of runbooks: `signet` finds its sockets, and paths of the pages lead into the directory of the test.
pub struct RunbookMachine {
    programs: PathBuf,
    paths: Vec<(String, String)>,
    words: BTreeMap<String, String>,
}

impl Runbook {
    /// Reads a page by its name, without `.md`.
    ///
    /// # Panics
    /// When there is no such page, or no command in it.
    #[must_use]
    pub fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbooks").join(format!("{name}.md"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let steps = steps_of(&text);
        assert!(!steps.is_empty(), "{name} has no command");
        Self { name: name.to_owned(), steps }
    }

    /// Its steps, in order.
    #[must_use]
    pub fn steps(&self) -> &[RunbookStep] {
        &self.steps
    }

    /// Runs every step; `own` may do one itself, such as `systemctl`, and says whether it did.
    ///
    /// # Panics
    /// When a step does not do what the page says.
    pub async fn run(&self, machine: &RunbookMachine, mut own: impl AsyncFnMut(&RunbookStep) -> bool) {
        for step in &self.steps {
            if !own(step).await {
                machine.run(&self.name, step).await;
            }
        }
    }
}

impl RunbookMachine {
    /// With these admin sockets. `paths`: what a path of the pages begins with, and what stands for it here.
    ///
    /// # Panics
    /// When the programs cannot be written.
    #[must_use]
    pub fn new(bed: &TestBed, ca_socket: &Path, agent_socket: &Path, paths: &[(&str, &Path)]) -> Self {
        let programs = bed.path().join("programs");
        std::fs::create_dir_all(&programs).expect("our own directory is writable");
        let signet = programs.join("signet");
        // Verbs that talk to a service get its socket; the others have none.
        let script = format!(
            "#!/bin/sh\ncase \"$1 $2\" in\n\
             \"ca backup\") case \" $* \" in *\" --config \"*|*\" verify \"*) exec '{binary}' \"$@\";; esac; exec '{binary}' \"$@\" --socket '{ca}';;\n\
             \"ca \"*|\"agent check\"|\"svid inspect\") exec '{binary}' \"$@\";;\n\
             \"agent \"*|\"entry explain\") exec '{binary}' \"$@\" --socket '{agent}';;\n\
             *) exec '{binary}' \"$@\" --socket '{ca}';;\nesac\n",
            binary = signet_binary().display(),
            ca = ca_socket.display(),
            agent = agent_socket.display(),
        );
        std::fs::write(&signet, script).expect("our own directory is writable");
        std::fs::set_permissions(&signet, PermissionsExt::from_mode(0o755)).expect("our own file");
        let paths = paths.iter().map(|(from, to)| ((*from).to_owned(), to.display().to_string())).collect();
        Self { programs, paths, words: BTreeMap::new() }
    }

    /// What a word in capitals stands for here.
    pub fn set(&mut self, word: &str, value: &str) {
        self.words.insert(word.to_owned(), value.to_owned());
    }

    /// The command as it is run here.
    #[must_use]
    pub fn command(&self, step: &RunbookStep) -> String {
        let mapped = step.command.split(' ').map(|word| {
            let found = self.paths.iter().find_map(|(from, to)| Some((to, word.strip_prefix(from.as_str())?)));
            found.map_or_else(|| word.to_owned(), |(to, rest)| format!("{to}{rest}"))
        });
        self.with_words(&mapped.collect::<Vec<_>>().join(" "))
    }

    /// A text with what its words in capitals stand for.
    fn with_words(&self, text: &str) -> String {
        let mut mapped = String::new();
        for part in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
            let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            mapped.push_str(self.words.get(word).map_or(word, String::as_str));
            mapped.push_str(&part[word.len()..]);
        }
        mapped
    }

    async fn run(&self, page: &str, step: &RunbookStep) {
        let line = self.command(step);
        let path = format!("{}:/usr/bin:/bin", self.programs.display());
        let mut command = Command::new("sh");
        command.args(["-c", &line]).env("PATH", path).stdin(Stdio::null());
        // Beside the test: what it waits for may be done by tasks of this very process.
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it ends").expect("there is a shell");
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let shall_fail = step.seen.iter().any(|seen| seen.starts_with("error:"));
        assert_eq!(output.status.success(), !shall_fail, "{page}: `{line}` printed:\n{printed}");
        for seen in &step.seen {
            assert!(
                printed.lines().any(|printed| matches(&self.with_words(seen), printed)),
                "{page}: `{}` should show {seen:?}, and printed:\n{printed}",
                step.command
            );
        }
    }
}

/// The commands of a page.
fn steps_of(text: &str) -> Vec<RunbookStep> {
    let mut steps: Vec<RunbookStep> = Vec::new();
    let mut is_console = false;
    let mut is_continued = false;
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            (is_console, is_continued) = (kind == "console", false);
            continue;
        }
        if !is_console {
            continue;
        }
        let prompt = [("ca$ ", RunbookHost::Ca), ("node$ ", RunbookHost::Node)]
            .into_iter()
            .find_map(|(prompt, host)| Some((host, line.strip_prefix(prompt)?)));
        match (prompt, steps.last_mut()) {
            (_, Some(step)) if is_continued => {
                step.command.push(' ');
                step.command.push_str(line.trim_end_matches('\\').trim());
                is_continued = line.ends_with('\\');
            }
            (Some((host, command)), _) => {
                is_continued = command.ends_with('\\');
                let command = command.trim_end_matches('\\').trim().to_owned();
                steps.push(RunbookStep { host, command, seen: Vec::new() });
            }
            (None, Some(step)) if !line.trim().is_empty() && line.trim() != "..." => step.seen.push(line.trim().to_owned()),
            (None, _) => {}
        }
    }
    steps
}

/// Whether a line is as it is said to be: its words, in order, where `...` stands for anything.
fn matches(said: &str, printed: &str) -> bool {
    let printed = words(printed);
    let parts: Vec<_> = said.split("...").map(words).collect();
    let mut rest = printed.as_str();
    for (number, part) in parts.iter().enumerate() {
        let is_last = number + 1 == parts.len();
        let found = match (number, is_last) {
            (0, true) => (rest == part).then_some(0),
            (0, false) => rest.starts_with(part.as_str()).then_some(0),
            (_, true) => rest.ends_with(part.as_str()).then(|| rest.len() - part.len()),
            (_, false) => rest.find(part.as_str()),
        };
        let Some(found) = found else { return false };
        rest = rest[found..].strip_prefix(part.as_str()).unwrap_or_default();
    }
    true
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_what_one_sees_are_read_from_console_blocks_alone() {
        let text = "# Page\n\n```console\nca$ signet drill root --dry-run\n STEP ...\n...\n\nnothing was changed\nnode$ signet agent status \\\n  -o json\n```\n\n\
                    ```toml\nca$ not this\n```\n";
        let step = |host, command: &str, seen: &[&str]| RunbookStep {
            host,
            command: command.to_owned(),
            seen: seen.iter().map(|seen| (*seen).to_owned()).collect(),
        };
        assert_eq!(
            steps_of(text),
            [
                step(RunbookHost::Ca, "signet drill root --dry-run", &["STEP ...", "nothing was changed"]),
                step(RunbookHost::Node, "signet agent status -o json", &[]),
            ]
        );
    }

    #[test]
    fn a_line_is_as_it_is_said_to_be_where_dots_stand_for_anything() {
        for (said, printed) in [
            ("root-1  active", " root-1 active "),
            ("root-1 ... active", "root-1  2026  active"),
            ("... active", "root-1 active"),
            ("root-1 ...", "root-1 active until then"),
            ("a ... c ... e", "a b c d e"),
        ] {
            assert!(matches(said, printed), "{said}: {printed}");
        }
        for (said, printed) in [
            ("root-1", "root-1 active"),
            ("root-1 ... active", "root-2 active"),
            ("... active", "root-1 active until"),
            ("a ... c ... e", "a d c"),
        ] {
            assert!(!matches(said, printed), "{said}: {printed}");
        }
    }
}
