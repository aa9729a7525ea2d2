//! Paths and their forms: the table in `data/paths.txt`, and every percent code.

use policy::path::{FragmentRule, PathNormalization, normalize};

const LEVELS: [PathNormalization; 4] =
    [PathNormalization::None, PathNormalization::Base, PathNormalization::MergeSlashes, PathNormalization::DecodeAndMergeSlashes];

/// Undoes `\xHH`.
fn bytes(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        out.push(u8::from_str_radix(digits, 16).expect("two digits stand behind \\x"));
        out.extend_from_slice(rest.as_bytes());
    }
    out
}

fn form(raw: &[u8], level: PathNormalization) -> Vec<u8> {
    normalize(raw, level, FragmentRule::Strip).map_or_else(|_| b"400".to_vec(), |path| path.whole().to_vec())
}

#[test]
fn every_spelling_in_every_level() {
    let mut spellings = 0;
    for line in include_str!("data/paths.txt").lines().filter(|line| !line.starts_with('#')) {
        let [raw, forms @ ..]: [&str; 5] = line.split_whitespace().take(5).collect::<Vec<_>>().try_into().unwrap();
        for (level, expected) in LEVELS.into_iter().zip(forms) {
            let found = form(&bytes(raw), level);
            assert_eq!(found, bytes(expected), "{raw} at {level:?} became {}", String::from_utf8_lossy(&found));
        }
        spellings += 1;
    }
    assert!(spellings >= 95, "only {spellings} spellings");
}

#[test]
fn every_percent_code_in_both_cases() {
    for code in 0..=u8::MAX {
        let byte = char::from(code);
        let unreserved = byte.is_ascii_alphanumeric() || "-._~".contains(byte);
        for escape in [format!("%{code:02x}"), format!("%{code:02X}")] {
            let raw = format!("/a{escape}b");
            let base = match (code, unreserved) {
                (0, _) => "400".to_owned(),
                (_, true) => format!("/a{byte}b"),
                (_, false) => raw.clone(),
            };
            let decoded = if matches!(byte, '/' | '\\') { "/a/b".to_owned() } else { base.clone() };
            for (level, expected) in LEVELS.into_iter().zip([raw.clone(), base.clone(), base.clone(), decoded]) {
                assert_eq!(form(raw.as_bytes(), level), expected.into_bytes(), "{raw} at {level:?}");
            }
        }
    }
}

/// What escapes the eye of a policy for `/admin` does so because an application tells it apart too: a spelling that the level does not make
/// `/admin` is another path.
#[test]
fn which_spellings_a_policy_for_admin_sees() {
    let seen = |raw: &str, level| {
        normalize(raw.as_bytes(), level, FragmentRule::Strip).map(|path| path.path() == b"/admin").map_err(|_| 400)
    };
    for (raw, expected) in [
        ("/admin", [Ok(true), Ok(true), Ok(true), Ok(true)]),
        ("//admin", [Ok(false), Ok(false), Ok(true), Ok(true)]),
        ("/x/../admin", [Ok(false), Ok(true), Ok(true), Ok(true)]),
        ("/%61dmin", [Ok(false), Ok(true), Ok(true), Ok(true)]),
        ("/%2fadmin", [Ok(false), Ok(false), Ok(false), Ok(true)]),
        ("/x%2f..%2fadmin", [Ok(false), Ok(false), Ok(false), Ok(true)]),
        ("/\\admin", [Ok(false), Ok(false), Ok(true), Ok(true)]),
        ("/admin%00", [Ok(false), Err(400), Err(400), Err(400)]),
        ("/admin?x=1", [Ok(true); 4]),
        ("/admin#f", [Ok(true); 4]),
        ("/ADMIN", [Ok(false); 4]),
        ("/admin/", [Ok(false); 4]),
        ("/admin;a=b", [Ok(false); 4]),
        ("/%2561dmin", [Ok(false); 4]),
        ("/admin%3fx", [Ok(false); 4]),
    ] {
        assert_eq!(LEVELS.map(|level| seen(raw, level)), expected, "{raw}");
    }
}
