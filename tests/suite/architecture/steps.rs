//! Whatever moves an authority is a step: in `ca::rotation` no write that lasts, sync, rename, signature or publication stands outside
//! `Steps::run`, so that a test which ends the process at each step ends it at each of them.

use super::{root, rust_files};

/// What lasts or is seen by others, as it is called.
const ACTS: &[&str] = &[
    "fs::write(",
    "fs::rename(",
    "fs::remove_file(",
    "remove_key(",
    "keys.make(",
    "fs::remove_dir_all(",
    "fs::create_dir(",
    "File::create(",
    "write_private(",
    "write_public(",
    "sync_dir(",
    "ensure_private_dir(",
    "sign(recorded",
    ".record(",
    ".record_result(",
    ".store_lifecycle(",
    ".persist_fenced(",
    ".ask_issuer(",
    ".claim_issuer(",
    ".answer_issuer(",
    ".forget_issuer(",
    ".retire_replica(",
    ".forget_replica(",
    ".put_rotation(",
    ".end_rotation(",
    ".bundle_sequence(",
    "authority.send_replace(",
    "jwt.send_replace(",
    "bundle.send_replace(",
    "serving.renew(",
];

/// The code without tests, comments and imports.
fn shipped(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let lines = lines.filter(|line| !line.trim_start().starts_with("use "));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Where the arguments of a call end that begin at `start`, behind the opening bracket.
fn end_of_arguments(code: &str, start: usize) -> usize {
    let mut depth = 1_u32;
    for (offset, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return offset;
        }
    }
    code.len()
}

/// The acts in a text that are taken outside of a step. A future that is made in a line of its own counts as part of the step which the
/// next lines hand it to.
fn outside(code: &str) -> Vec<String> {
    const RUN: &str = "steps.run(";
    let steps: Vec<_> = code.match_indices(RUN).map(|(at, _)| (at, end_of_arguments(code, at + RUN.len()))).collect();
    let mut found = Vec::new();
    for act in ACTS {
        for (at, _) in code.match_indices(act) {
            let is_inside = steps.iter().any(|(from, to)| (*from..*to).contains(&at));
            let line_start = code[..at].rfind('\n').map_or(0, |newline| newline + 1);
            let line = code[line_start..].lines().next().unwrap_or_default().trim();
            let name = line.strip_prefix("let ").and_then(|rest| rest.split([' ', ':']).next());
            let is_handed_on = name.is_some_and(|name| {
                let next = code[at..].find(RUN).map(|run| at + run);
                next.is_some_and(|next| {
                    let arguments = &code[next..end_of_arguments(code, next + RUN.len())];
                    next - at < 300 && arguments.ends_with(&format!(", {name}"))
                })
            });
            if !is_inside && !is_handed_on {
                found.push(format!("{act} in: {line}"));
            }
        }
    }
    found
}

#[test]
fn nothing_moves_an_authority_outside_of_a_step() {
    let folder = root().join("ca/src/rotation");
    let files: Vec<_> =
        rust_files(&folder).into_iter().filter(|path| !path.components().any(|part| part.as_os_str() == "tests")).collect();
    assert!(files.len() > 10, "the module is gone; its successor belongs here");
    let mut seen = 0;
    for path in files {
        let code = shipped(&std::fs::read_to_string(&path).expect("a source file can be read"));
        seen += ACTS.iter().map(|act| code.matches(act).count()).sum::<usize>();
        assert_eq!(outside(&code), Vec::<String>::new(), "{}", path.display());
    }
    assert!(seen >= ACTS.len() / 2, "the acts have other names now");
}

/// The control.
#[test]
fn an_act_outside_of_a_step_is_found() {
    assert_eq!(outside("self.steps.run(Step::A, async { fs::rename(&a, &b) }).await;"), Vec::<String>::new());
    assert_eq!(outside("let stored = self.store.put_rotation(r);\nself.steps.run(Step::A, stored).await;"), Vec::<String>::new());
    assert_eq!(outside("steps.run(Step::A, x()).await;\nfs::rename(&a, &b);"), ["fs::rename( in: fs::rename(&a, &b);"]);
    assert_eq!(outside("let done = store.put_rotation(r).await;\nsteps.run(Step::A, other).await;").len(), 1);
}
