//! The one normaliser of paths: Istio MeshConfig `pathNormalization`, as Envoy 1.40 does it.

use std::borrow::Cow;

use super::escape::{Unit, hex_pair, may_stand_raw, push_raw, unescape_slashes};

/// The longest `:path` that is read, in bytes, query included.
pub const MAX_PATH_BYTES: usize = 64 * 1024;

/// How far a path is brought into one form before policies see it and before it is sent on: Istio MeshConfig
/// `pathNormalization.normalization`. Each level does what the one before it does, and more; nothing is ever decoded twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathNormalization {
    /// `NONE`: the path as it came. Of use only where the application compares paths byte for byte.
    None,
    /// `BASE`: backslashes are slashes, dot segments are taken out, escapes of unreserved characters are undone (RFC 3986 section 6.2.2).
    #[default]
    Base,
    /// `MERGE_SLASHES`: and slashes that stand side by side are one.
    MergeSlashes,
    /// `DECODE_AND_MERGE_SLASHES`: and, before all that, `%2F` and `%5C` are slashes.
    DecodeAndMergeSlashes,
}

/// What becomes of a path with a fragment, which no client should send (CVE-2021-32779, CVE-2021-39156).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FragmentRule {
    /// What stands from `#` on is cut off, as Istio has it.
    #[default]
    Strip,
    /// The request is refused, as Envoy has it unless told otherwise.
    Refuse,
}

/// A path in its form, with its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath<'a> {
    whole: Cow<'a, [u8]>,
    path_len: usize,
}

impl NormalPath<'_> {
    /// The path alone: what patterns of paths are held against.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.whole.get(..self.path_len).unwrap_or_default()
    }

    /// The path and, if there is one, its query with the question mark: what is sent on.
    #[must_use]
    pub fn whole(&self) -> &[u8] {
        &self.whole
    }
}

/// Why a path is refused, which is answered by 400 before any policy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathRefusal {
    /// It does not begin with a slash. The absolute form of a target is split by whoever reads HTTP.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// Over [`MAX_PATH_BYTES`].
    #[error("the path has {found} bytes, at most {MAX_PATH_BYTES} are read")]
    TooLong {
        /// The length met, in bytes.
        found: usize,
    },
    /// A byte that the target of a request cannot hold: a control character, a space, or one outside ASCII.
    #[error("the path holds the byte {found:#04x}, which must be escaped")]
    Byte {
        /// The first byte refused.
        found: u8,
    },
    /// It has a fragment, and [`FragmentRule::Refuse`] is set.
    #[error("the path has a fragment")]
    Fragment,
    /// It holds an escaped NUL.
    #[error("the path holds an escaped NUL")]
    Nul,
    /// A dot segment with parameters (`/..;`) that only came about by undoing escapes or backslashes. Envoy sends it on, and some
    /// applications climb by it.
    #[error("the path hides a dot segment with parameters")]
    HiddenDotSegment,
}

/// Brings a raw `:path` into the form of a level. Takes time linear in its length.
///
/// # Errors
/// [`PathRefusal`]: the request is to be answered by 400.
pub fn normalize(raw: &[u8], level: PathNormalization, fragment: FragmentRule) -> Result<NormalPath<'_>, PathRefusal> {
    if raw.len() > MAX_PATH_BYTES {
        return Err(PathRefusal::TooLong { found: raw.len() });
    }
    if let Some(found) = raw.iter().find(|byte| !may_stand_raw(**byte)) {
        return Err(PathRefusal::Byte { found: *found });
    }
    if raw.first() != Some(&b'/') {
        return Err(PathRefusal::NotAbsolute);
    }
    let raw = match raw.iter().position(|byte| *byte == b'#') {
        Some(_) if fragment == FragmentRule::Refuse => return Err(PathRefusal::Fragment),
        Some(at) => raw.get(..at).unwrap_or_default(),
        None => raw,
    };
    let (path, query) = raw.split_at(raw.iter().position(|byte| *byte == b'?').unwrap_or(raw.len()));
    if level == PathNormalization::None {
        return Ok(NormalPath { whole: Cow::Borrowed(raw), path_len: path.len() });
    }
    if is_plain(path) {
        return Ok(NormalPath { whole: Cow::Borrowed(raw), path_len: path.len() });
    }
    let decoded = match level {
        PathNormalization::DecodeAndMergeSlashes => Cow::Owned(unescape_slashes(path)),
        PathNormalization::None | PathNormalization::Base | PathNormalization::MergeSlashes => Cow::Borrowed(path),
    };
    let mut whole = remove_dots(&without_dot_parameters(&decoded))?;
    if level >= PathNormalization::MergeSlashes {
        whole.dedup_by(|next, before| *next == b'/' && *before == b'/');
    }
    if whole.split(|byte| *byte == b'/').any(|segment| dot_parameters(segment).is_some()) {
        return Err(PathRefusal::HiddenDotSegment);
    }
    let path_len = whole.len();
    whole.extend_from_slice(query);
    Ok(NormalPath { whole: Cow::Owned(whole), path_len })
}

/// Whether a path is in the form of every level as it stands: nothing to undo, to escape or to merge in it, and no segment begins with a
/// dot. Most are, and need not be written anew.
fn is_plain(path: &[u8]) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/');
    path.iter().all(|byte| plain(*byte)) && !path.windows(2).any(|pair| matches!(pair, b"//" | b"/."))
}

/// The dots of a segment that is `.` or `..` with parameters.
fn dot_parameters(segment: &[u8]) -> Option<&[u8]> {
    match segment {
        [b'.', b';', ..] => segment.get(..1),
        [b'.', b'.', b';', ..] => segment.get(..2),
        _ => None,
    }
}

/// Takes the parameters off dot segments: `/..;a=b` climbs as `/..` does. Only slashes part segments here.
fn without_dot_parameters(path: &[u8]) -> Vec<u8> {
    let segments: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').map(|segment| dot_parameters(segment).unwrap_or(segment)).collect();
    segments.join(&b'/')
}

/// Undoes escapes of unreserved characters, makes backslashes slashes and takes dot segments out, in one walk from left to right.
fn remove_dots(path: &[u8]) -> Result<Vec<u8>, PathRefusal> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let mut stray_percents: Vec<usize> = Vec::new();
    let mut rest = path;
    while let Some((unit, length)) = Unit::first(rest) {
        if unit.is_dot()
            && out.last() == Some(&b'/')
            && let Some((climb, taken)) = dot_segment(rest)
        {
            if climb {
                climb_one(&mut out);
                stray_percents.retain(|at| *at < out.len());
            }
            rest = rest.get(taken..).unwrap_or_default();
            continue;
        }
        match unit {
            Unit::Raw(b'\\') => out.push(b'/'),
            Unit::Raw(byte) => push_raw(&mut out, byte),
            Unit::Unreserved(byte) => out.push(byte),
            Unit::Kept(escape) => out.extend(escape),
            Unit::Nul => return Err(PathRefusal::Nul),
            Unit::StrayPercent => {
                stray_percents.push(out.len());
                out.push(b'%');
            }
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(escape_percents(out, &stray_percents))
}

/// Whether a dot segment begins here: whether it climbs, and how many bytes it takes with the slash behind it.
fn dot_segment(rest: &[u8]) -> Option<(bool, usize)> {
    let mut taken = 0;
    for climbs in [false, true] {
        let (unit, length) = Unit::first(rest.get(taken..)?)?;
        if !unit.is_dot() {
            return None;
        }
        taken += length;
        match rest.get(taken) {
            None => return Some((climbs, taken)),
            Some(b'/' | b'\\') => return Some((climbs, taken + 1)),
            Some(_) => {}
        }
    }
    None
}

/// Takes the last segment off a path that ends with a slash; at the root nothing is left to take.
fn climb_one(out: &mut Vec<u8>) {
    let end = out.len().saturating_sub(1);
    if let Some(slash) = out.get(..end).and_then(|before| before.iter().rposition(|byte| *byte == b'/')) {
        out.truncate(slash + 1);
    }
}

/// A stray percent sign that has come to stand before two digits is escaped, so that nobody behind us finds an escape that was not there.
fn escape_percents(out: Vec<u8>, stray_percents: &[usize]) -> Vec<u8> {
    let makes_escape = |at: &usize| out.get(at + 1..at + 3).and_then(hex_pair).is_some();
    if !stray_percents.iter().any(makes_escape) {
        return out;
    }
    let mut escaped = Vec::with_capacity(out.len() + 2 * stray_percents.len());
    let mut from = 0;
    for at in stray_percents.iter().filter(|at| makes_escape(at)) {
        escaped.extend_from_slice(out.get(from..=*at).unwrap_or_default());
        escaped.extend_from_slice(b"25");
        from = at + 1;
    }
    escaped.extend_from_slice(out.get(from..).unwrap_or_default());
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEVELS: [PathNormalization; 4] = [
        PathNormalization::None,
        PathNormalization::Base,
        PathNormalization::MergeSlashes,
        PathNormalization::DecodeAndMergeSlashes,
    ];

    fn whole(raw: &str, level: PathNormalization) -> Result<String, PathRefusal> {
        normalize(raw.as_bytes(), level, FragmentRule::Strip).map(|path| String::from_utf8(path.whole().to_vec()).unwrap())
    }

    #[test]
    fn each_refusal_by_its_own_name_and_its_passing_twin() {
        use PathRefusal as R;
        for level in LEVELS {
            assert_eq!(whole("admin", level), Err(R::NotAbsolute));
            assert_eq!(whole("", level), Err(R::NotAbsolute));
            assert_eq!(whole("*", level), Err(R::NotAbsolute));
            for (raw, found) in [("/a b", b' '), ("/a\u{0}", 0), ("/a\t", 9), ("/a\u{7f}", 0x7f), ("/é", 0xc3)] {
                assert_eq!(whole(raw, level), Err(R::Byte { found }), "{raw:?}");
            }
            assert!(whole("/!", level).is_ok() && whole("/~", level).is_ok());
            let longest = format!("/{}", "a".repeat(MAX_PATH_BYTES - 1));
            assert!(whole(&longest, level).is_ok());
            assert_eq!(whole(&format!("{longest}a"), level), Err(R::TooLong { found: MAX_PATH_BYTES + 1 }));
            for raw in ["/a#f", "/#", "/a?b#c"] {
                assert_eq!(normalize(raw.as_bytes(), level, FragmentRule::Refuse), Err(R::Fragment), "{raw}");
            }
            assert!(normalize(b"/a%23f", level, FragmentRule::Refuse).is_ok());
        }
        assert_eq!(whole("/a%00", PathNormalization::None), Ok("/a%00".to_owned()));
        assert_eq!(whole("/a%00", PathNormalization::Base), Err(R::Nul));
        assert_eq!(whole("/a?%00", PathNormalization::Base), Ok("/a?%00".to_owned()));
        assert_eq!(whole("/x/%2e%2e;/a", PathNormalization::Base), Err(R::HiddenDotSegment));
        assert_eq!(whole("/x/..;/a", PathNormalization::Base), Ok("/a".to_owned()));
    }

    #[test]
    fn the_path_ends_where_the_query_begins() {
        for (raw, path, sent) in
            [("/a?x=1", "/a", "/a?x=1"), ("/a/../b?", "/b", "/b?"), ("/a?b#c", "/a", "/a?b"), ("/a#b?c", "/a", "/a")]
        {
            let normal = normalize(raw.as_bytes(), PathNormalization::Base, FragmentRule::Strip).unwrap();
            assert_eq!((normal.path(), normal.whole()), (path.as_bytes(), sent.as_bytes()), "{raw}");
        }
    }

    #[test]
    fn a_long_climb_takes_linear_time() {
        let raw = format!("/{}{}", "a/".repeat(12_000), "../".repeat(13_000));
        assert!(raw.len() < MAX_PATH_BYTES);
        assert_eq!(whole(&raw, PathNormalization::DecodeAndMergeSlashes), Ok("/".to_owned()));
    }

    fn spelling() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("/"),
            Just("//"),
            Just("\\"),
            Just("."),
            Just(".."),
            Just(";"),
            Just("a"),
            Just("6"),
            Just("1"),
            Just("%"),
            Just("%2e"),
            Just("%2E"),
            Just("%2f"),
            Just("%5C"),
            Just("%25"),
            Just("%61"),
            Just("%36"),
            Just("%31"),
            Just("{"),
            Just("%3b"),
        ];
        prop::collection::vec(piece, 0..14).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        /// What has been brought into its form stays there: whoever reads it again reads the same.
        #[test]
        fn a_normal_path_is_normal(raw in spelling()) {
            for level in LEVELS {
                if let Ok(once) = whole(&raw, level) {
                    prop_assert_eq!(whole(&once, level), Ok(once.clone()), "{} at {:?}", raw, level);
                }
            }
        }

        #[test]
        fn nothing_is_left_to_climb_or_to_merge(raw in spelling()) {
            for level in LEVELS.into_iter().skip(1) {
                let Ok(path) = whole(&raw, level) else { continue };
                prop_assert!(path.starts_with('/') && !path.contains('\\'));
                for segment in path.split('/') {
                    prop_assert!(!matches!(segment.split(';').next(), Some("." | "..")), "{} became {}", raw, path);
                }
                prop_assert!(level == PathNormalization::Base || !path.contains("//"));
                let decoded = path.to_ascii_lowercase();
                prop_assert!(level != PathNormalization::DecodeAndMergeSlashes || !(decoded.contains("%2f") || decoded.contains("%5c")));
                prop_assert!(!(decoded.contains("%61") || decoded.contains("%2e")));
            }
        }

        #[test]
        fn never_panics(raw in prop::collection::vec(any::<u8>(), 0..64)) {
            for level in LEVELS {
                let path = normalize(&raw, level, FragmentRule::Strip);
                prop_assert!(path.is_err() || raw.first() == Some(&b'/'));
            }
        }
    }
}
