//! Policies as somebody wrote them, and paths as somebody asks for them.

use ::policy::objects::{Outcome, ReadOptions, Reading, read};
use ::policy::path::{FragmentRule, PathNormalization, normalize};
use ::policy::{Limits, Severity};

/// The first byte says what the rest is.
pub(crate) fn run(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    if which % 2 == 0 {
        if let Ok(text) = std::str::from_utf8(bytes) {
            documents(text);
        }
    } else {
        path(bytes);
    }
}

fn documents(text: &str) {
    let options = ReadOptions::default();
    let Limits { bytes, documents, .. } = options.limits;
    let found = read(text, &options);
    assert_eq!(read(text, &options), found, "it is not read the same each time");
    let is_told = |document: usize| {
        found
            .diagnostics
            .iter()
            .any(|told| told.severity >= Severity::Error && (told.subject.document == document || told.subject.document == 0))
    };
    for object in &found.objects {
        if let Outcome::Refused { strictest } = &object.outcome {
            assert!(is_told(object.document), "{} is refused, and nobody is told why", object.id);
            assert_eq!(strictest.id(), object.id, "another one stands in for it");
        }
    }
    assert!(found.unidentified == 0 || found.diagnostics.iter().any(|told| told.severity >= Severity::Error));
    // What stands behind it, after a marker of its own, is read whatever stands before it; only what has its name as well may be against it.
    let behind = format!("{text}\n---\n{GOOD}");
    if behind.len() <= bytes && text.split("\n---").count() < documents && !text.contains("good") {
        let Reading { objects, .. } = read(&behind, &options);
        assert!(objects.last().is_some_and(|last| last.id.name == "good" && matches!(last.outcome, Outcome::Accepted(_))));
    }
}

/// A document that is good by itself.
const GOOD: &str =
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: good, namespace: fuzzed}\nspec: {}\n";

fn path(raw: &[u8]) {
    let levels = [
        PathNormalization::None,
        PathNormalization::Base,
        PathNormalization::MergeSlashes,
        PathNormalization::DecodeAndMergeSlashes,
    ];
    for level in levels {
        for fragment in [FragmentRule::Strip, FragmentRule::Refuse] {
            let Ok(form) = normalize(raw, level, fragment) else { continue };
            let path = form.path();
            assert!(path.starts_with(b"/") && form.whole().starts_with(path) && !path.contains(&b'?') && !path.contains(&b'#'));
            // What stands in no path is escaped.
            assert!(form.whole().len() <= 3 * raw.len(), "a path that grows beyond its escapes");
            if level == PathNormalization::None {
                continue;
            }
            assert!(!path.contains(&b'\\') && !path.contains(&0), "{level:?}: {path:?}");
            let is_dots = |segment: &[u8]| matches!(segment, b"." | b"..");
            assert!(!path.split(|byte| *byte == b'/').any(is_dots), "a dot segment is left at {level:?}: {path:?}");
            if level >= PathNormalization::MergeSlashes {
                assert!(!path.windows(2).any(|pair| pair == b"//"), "slashes side by side are left at {level:?}: {path:?}");
            }
        }
    }
}
