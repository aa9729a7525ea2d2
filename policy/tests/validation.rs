//! What is refused, and where: cases as data, of both generations of objects.
//!
//! A case begins with `KIND: TITLE`, has its text indented by two spaces, and ends with what is expected: `ok` when the object counts as
//! written, and a line `! CODE at FIELD` for each thing that is said (`! CODE` when it is of the object as a whole). Below a kind stands the
//! `spec` alone; `text` is a whole text, and `admission` whole texts that replace one another, with `~~~` between them, of which the last
//! one counts. Options stand in parentheses behind the kind.

#![expect(clippy::panic, clippy::unwrap_used, reason = "this is a test: it fails by them")]

use std::collections::BTreeSet;

use policy::admission::{Admission, AdmissionOptions};
use policy::objects::{Kind, Outcome, ReadOptions, read};
use policy::{Code, Diagnostic};

const FILES: [(&str, &str, usize); 3] = [
    ("validation-istio-1.1.txt", include_str!("data/validation-istio-1.1.txt"), 46),
    ("validation.txt", include_str!("data/validation.txt"), 240),
    ("validation-documents.txt", include_str!("data/validation-documents.txt"), 30),
];

struct Case<'a> {
    line: usize,
    kind: &'a str,
    options: Vec<&'a str>,
    text: String,
    accepted: bool,
    expected: Vec<(&'a str, &'a str)>,
}

fn cases<'a>(name: &str, data: &'a str) -> Vec<Case<'a>> {
    let mut cases: Vec<Case<'a>> = Vec::new();
    for (line, number) in data.lines().zip(1..) {
        if let Some(text) = line.strip_prefix("  ") {
            let case = cases.last_mut().unwrap();
            assert!(!case.accepted && case.expected.is_empty(), "{name}:{number}: text behind what is expected");
            case.text.push_str(text);
            case.text.push('\n');
        } else if let Some(expected) = line.strip_prefix("! ") {
            let expected = expected.split_once(" at ").unwrap_or((expected, ""));
            cases.last_mut().unwrap().expected.push(expected);
        } else if line == "ok" {
            cases.last_mut().unwrap().accepted = true;
        } else if !line.is_empty() && !line.starts_with('#') {
            let (head, title) = line.split_once(": ").unwrap_or_else(|| panic!("{name}:{number}: {line}"));
            assert!(!title.is_empty(), "{name}:{number}: no title");
            let (kind, options) = head.split_once(" (").unwrap_or((head, ""));
            let options = options.trim_end_matches(')').split(", ").filter(|option| !option.is_empty()).collect();
            cases.push(Case { line: number, kind, options, text: String::new(), accepted: false, expected: Vec::new() });
        }
    }
    cases
}

impl Case<'_> {
    fn options(&self) -> (ReadOptions, AdmissionOptions) {
        let (mut reading, mut admission) = (ReadOptions::default(), AdmissionOptions::default());
        for option in &self.options {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                "bytes" => reading.limits.bytes = value.parse().unwrap(),
                "depth" => reading.limits.depth = value.parse().unwrap(),
                "nodes" => reading.limits.nodes = value.parse().unwrap(),
                "documents" => reading.limits.documents = value.parse().unwrap(),
                "root" => reading.root_namespace = value.to_owned(),
                "unknown_constraints_ignored" => reading.unknown_constraints_ignored = true,
                "strict_root" => admission.strict_root = true,
                other => panic!("unknown option {other}"),
            }
        }
        (reading, admission)
    }

    /// Whether all objects count as written, and what is said.
    fn run(&self) -> (bool, Vec<Diagnostic>) {
        let (options, admission_options) = self.options();
        if self.kind == "admission" {
            let mut admission = Admission::new(admission_options);
            let mut said = Vec::new();
            for text in self.text.split("~~~\n") {
                said = admission.replace(read(text, &options));
            }
            return (said.is_empty(), said);
        }
        let text = if self.kind == "text" { self.text.clone() } else { self.whole() };
        let reading = read(&text, &options);
        let accepted = reading.objects.iter().all(|object| matches!(object.outcome, Outcome::Accepted(_)));
        (accepted && reading.unidentified == 0, reading.diagnostics)
    }

    /// The object around a `spec`.
    fn whole(&self) -> String {
        let kind = Kind::ALL.iter().find(|kind| kind.as_str() == self.kind);
        let kind = kind.unwrap_or_else(|| panic!("line {}: no kind {}", self.line, self.kind));
        let (group, version) = (kind.group(), kind.versions()[0]);
        let name = if kind.is_cluster_scoped() || *kind == Kind::RbacConfig { "default" } else { "web" };
        let metadata =
            if kind.is_cluster_scoped() { format!("{{name: {name}}}") } else { format!("{{name: {name}, namespace: shop}}") };
        let spec: String = self.text.lines().map(|line| format!("  {line}\n")).collect();
        let spec = if spec.trim().is_empty() { "  {}\n".to_owned() } else { spec };
        format!("apiVersion: {group}/{version}\nkind: {kind}\nmetadata: {metadata}\nspec:\n{spec}")
    }
}

#[test]
fn every_case_is_judged_as_it_says() {
    let mut wrong = Vec::new();
    for (name, data, least) in FILES {
        let cases = cases(name, data);
        assert!(cases.len() >= least, "{name} has {} cases, fewer than {least}", cases.len());
        for case in cases {
            let (accepted, said) = case.run();
            let mut found: Vec<_> = said.iter().map(|one| (one.code.as_str(), one.field.as_str())).collect();
            let mut expected = case.expected.clone();
            found.sort_unstable();
            expected.sort_unstable();
            if accepted != case.accepted || found != expected {
                let told: Vec<String> = said.iter().map(ToString::to_string).collect();
                wrong.push(format!("{name}:{}: accepted {accepted}, said {found:?}\n  {}", case.line, told.join("\n  ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_code_is_hit_by_a_case() {
    let names: Vec<&str> = FILES
        .into_iter()
        .flat_map(|(name, data, _)| cases(name, data).into_iter().flat_map(|case| case.expected))
        .map(|(code, _)| code)
        .collect();
    let hit: BTreeSet<&str> = names.into_iter().collect();
    let all: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(all.difference(&hit).collect::<Vec<_>>(), Vec::<&&str>::new(), "codes that no case hits");
    assert_eq!(hit.difference(&all).collect::<Vec<_>>(), Vec::<&&str>::new(), "codes that do not exist");
}

/// A case of each kind is accepted, and one is refused: neither is by accident all that happens.
#[test]
fn every_kind_is_accepted_and_refused() {
    for kind in Kind::ALL {
        let of_kind: Vec<bool> = FILES
            .into_iter()
            .flat_map(|(name, data, _)| cases(name, data))
            .filter(|case| case.kind == kind.as_str())
            .map(|case| case.accepted)
            .collect();
        assert!(of_kind.contains(&true) && of_kind.contains(&false), "{kind}");
    }
}
