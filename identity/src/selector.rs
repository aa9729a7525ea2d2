//! Selectors: the facts about a process that an entry asks for.

mod kubernetes;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::text_serde;

/// The longest selector, in bytes: `unix:path:` and the longest path of Linux.
const MAX_SELECTOR_BYTES: usize = 4096 + 16;

/// One fact, `<kind>:<value>` such as `unix:uid:1000`, compared byte for byte. Of a process, except for [`SelectorKind::File`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(Arc<str>);

/// What a selector speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SelectorKind {
    /// `unix:uid:<number>`: the effective user of the process.
    Uid,
    /// `unix:gid:<number>`: its effective group.
    Gid,
    /// `unix:user:<name>`: the name of that user on this node.
    User,
    /// `unix:group:<name>`: the name of that group on this node.
    Group,
    /// `unix:path:<absolute path>`: its executable.
    Path,
    /// `unix:sha256:<64 lower-case hex digits>`: the content of its executable.
    Sha256,
    /// `unix:supplementary_gid:<number>`: one of its supplementary groups.
    SupplementaryGid,
    /// `unix:supplementary_group:<name>`: the name of such a group on this node.
    SupplementaryGroup,
    /// `systemd:unit:<unit file name>`: the unit of the system's own service manager in which it runs.
    SystemdUnit,
    /// `k8s:ns:<name>`: the namespace of the pod that it runs in.
    PodNamespace,
    /// `k8s:sa:<name>`: the service account of that pod.
    PodServiceAccount,
    /// `k8s:pod-name:<name>`: what that pod is called.
    PodName,
    /// `k8s:pod-uid:<uid>`: what tells it from all others, as the API has it.
    PodUid,
    /// `k8s:pod-label:<key>:<value>`: one of its labels.
    PodLabel,
    /// `k8s:container-name:<name>`: which of its containers the process runs in, init and ephemeral ones among them.
    ContainerName,
    /// `k8s:container-image:<reference>`: what that container was made of, as the container runtime names it, by tag or by digest.
    ContainerImage,
    /// `signet:file:<name>`: no process at all, but the files of that name which the agent keeps on disk. No process ever has it,
    /// so an entry with it is an operator's leave to write that identity to disk, and nothing else.
    File,
}

/// Why a text is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Not of a kind that an agent can read.
    #[error(
        "\"{found}\" is no selector; known are unix:uid:N, unix:gid:N, unix:user:NAME, unix:group:NAME, unix:path:/FILE, \
         unix:sha256:HEX, unix:supplementary_gid:N, unix:supplementary_group:NAME, systemd:unit:NAME, k8s:ns:NAME, k8s:sa:NAME, \
         k8s:pod-name:NAME, k8s:pod-uid:UID, k8s:pod-label:KEY:VALUE, k8s:container-name:NAME, k8s:container-image:REFERENCE and \
         signet:file:NAME"
    )]
    Unknown {
        /// The text met (its first 64 bytes at most).
        found: String,
    },
    /// The value does not fit its kind.
    #[error("the value of {kind} is malformed: expected {want}")]
    Value {
        /// Such as `unix:uid`.
        kind: SelectorKind,
        /// What would be right.
        want: &'static str,
    },
    /// Over the longest.
    #[error("the selector has {found} bytes, at most {MAX_SELECTOR_BYTES} are allowed")]
    TooLong {
        /// The length met, in bytes.
        found: usize,
    },
}

impl SelectorKind {
    /// Every kind, in the order in which people expect them.
    pub const ALL: [Self; 17] = [
        Self::Uid,
        Self::Gid,
        Self::User,
        Self::Group,
        Self::Path,
        Self::Sha256,
        Self::SupplementaryGid,
        Self::SupplementaryGroup,
        Self::SystemdUnit,
        Self::PodNamespace,
        Self::PodServiceAccount,
        Self::PodName,
        Self::PodUid,
        Self::PodLabel,
        Self::ContainerName,
        Self::ContainerImage,
        Self::File,
    ];

    /// Those that speak of a pod and its container: known together, or none of them.
    pub const OF_PODS: [Self; 7] = [
        Self::PodNamespace,
        Self::PodServiceAccount,
        Self::PodName,
        Self::PodUid,
        Self::PodLabel,
        Self::ContainerName,
        Self::ContainerImage,
    ];

    /// Such as `unix:uid`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uid => "unix:uid",
            Self::Gid => "unix:gid",
            Self::User => "unix:user",
            Self::Group => "unix:group",
            Self::Path => "unix:path",
            Self::Sha256 => "unix:sha256",
            Self::SupplementaryGid => "unix:supplementary_gid",
            Self::SupplementaryGroup => "unix:supplementary_group",
            Self::SystemdUnit => "systemd:unit",
            Self::PodNamespace => "k8s:ns",
            Self::PodServiceAccount => "k8s:sa",
            Self::PodName => "k8s:pod-name",
            Self::PodUid => "k8s:pod-uid",
            Self::PodLabel => "k8s:pod-label",
            Self::ContainerName => "k8s:container-name",
            Self::ContainerImage => "k8s:container-image",
            Self::File => "signet:file",
        }
    }

    fn check(self, value: &str) -> Result<(), SelectorError> {
        let (fits, want) = match self {
            Self::Uid | Self::Gid | Self::SupplementaryGid => {
                let canonical = value.parse::<u32>().is_ok_and(|number| number.to_string() == value);
                (canonical, "a decimal number without leading zeros, at most 4294967295")
            }
            Self::User | Self::Group | Self::SupplementaryGroup => {
                (!value.is_empty() && !value.contains([':', '\0', '\n']), "a name as in the account database")
            }
            Self::Path => (value.starts_with('/') && !value.contains('\0'), "an absolute path"),
            Self::Sha256 => {
                let hex = value.len() == 64 && value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                (hex, "64 lower-case hex digits, as sha256sum prints them")
            }
            Self::SystemdUnit => {
                (is_unit_with_processes(value), "the whole name of a service, scope, socket, mount or swap unit")
            }
            Self::PodNamespace | Self::ContainerName => {
                (kubernetes::is_label(value), "a name as Kubernetes takes it, of at most 63 bytes")
            }
            Self::PodServiceAccount | Self::PodName => {
                (kubernetes::is_name(value), "a name as Kubernetes takes it, of at most 253 bytes")
            }
            Self::PodUid => (kubernetes::is_uid(value), "a UID: 1 to 128 letters, digits, hyphens, underscores and dots"),
            Self::PodLabel => (kubernetes::is_pod_label(value), "KEY:VALUE of a label as Kubernetes takes it"),
            Self::ContainerImage => (kubernetes::is_image(value), "the reference of an image, of 1 to 1024 bytes without spaces"),
            Self::File => (is_label(value), "1 to 63 lower-case letters, digits and hyphens, beginning with a letter or digit"),
        };
        if fits { Ok(()) } else { Err(SelectorError::Value { kind: self, want }) }
    }
}

/// The syntax of unit names (systemd.unit(5)), of the types whose processes have the unit's own control group.
fn is_unit_with_processes(value: &str) -> bool {
    let known = |(name, suffix): (&str, &str)| !name.is_empty() && UNITS_WITH_PROCESSES.contains(&suffix);
    value.len() <= MAX_UNIT_BYTES
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte))
        && value.rsplit_once('.').is_some_and(known)
}

fn is_label(value: &str) -> bool {
    (1..=63).contains(&value.len())
        && !value.starts_with('-')
        && value.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

const UNITS_WITH_PROCESSES: [&str; 5] = ["service", "scope", "socket", "mount", "swap"];

/// systemd.unit(5).
const MAX_UNIT_BYTES: usize = 255;

impl fmt::Display for SelectorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Selector {
    /// Makes a selector of a kind.
    ///
    /// # Errors
    /// [`SelectorError`] when the value does not fit the kind or is too long.
    pub fn new(kind: SelectorKind, value: &str) -> Result<Self, SelectorError> {
        kind.check(value)?;
        let text = format!("{kind}:{value}");
        if text.len() > MAX_SELECTOR_BYTES {
            return Err(SelectorError::TooLong { found: text.len() });
        }
        Ok(Self(text.into()))
    }

    /// Parses `<kind>:<value>`.
    ///
    /// # Errors
    /// [`SelectorError`] when the kind is unknown or the value does not fit it.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let known =
            SelectorKind::ALL.into_iter().find_map(|kind| Some((kind, text.strip_prefix(kind.as_str())?.strip_prefix(':')?)));
        match known {
            Some((kind, value)) => Self::new(kind, value),
            None => Err(SelectorError::Unknown { found: text.chars().take(64).collect() }),
        }
    }

    /// What it speaks of.
    #[must_use]
    pub fn is(&self, kind: SelectorKind) -> bool {
        self.0.strip_prefix(kind.as_str()).is_some_and(|rest| rest.starts_with(':'))
    }

    /// The whole selector.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

text_serde!(Selector);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_each_kind_and_keeps_the_text() {
        let digest = format!("unix:sha256:{}", "0f".repeat(32));
        let texts = [
            "unix:uid:0",
            "unix:gid:4294967295",
            "unix:user:web",
            "unix:group:www-data",
            "unix:path:/usr/bin/env: odd",
            &digest,
            "unix:supplementary_gid:33",
            "unix:supplementary_group:www-data",
            "systemd:unit:dbus-org.example\\x2dfoo@a.service",
            "k8s:ns:shop",
            "k8s:sa:web.front",
            "k8s:pod-name:web-5f7d-x2k",
            "k8s:pod-uid:0f9a1b2c-3d4e-4f50-8a1b-0123456789ab",
            "k8s:pod-label:app.kubernetes.io/name:web",
            "k8s:container-name:app",
            "k8s:container-image:registry.example:5000/web@sha256:0f1e",
            "signet:file:nginx-1",
        ];
        assert_eq!(texts.len(), SelectorKind::ALL.len());
        for (text, kind) in texts.into_iter().zip(SelectorKind::ALL) {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.as_str(), text);
            assert!(SelectorKind::ALL.into_iter().all(|other| selector.is(other) == (other == kind)), "{text} is {kind} alone");
        }
    }

    #[test]
    fn refuses_unknown_kinds_and_values_that_do_not_fit() {
        for text in ["", "uid:0", "unix:uid", "unix:uids:0", "k8s:namespace:a", "k8s:pod:a", "unix:"] {
            assert!(matches!(Selector::parse(text), Err(SelectorError::Unknown { .. })), "{text}");
        }
        for text in
            ["unix:uid:", "unix:uid:-1", "unix:uid:01", "unix:uid:4294967296", "unix:user:", "unix:user:a:b", "unix:path:bin"]
        {
            assert!(matches!(Selector::parse(text), Err(SelectorError::Value { .. })), "{text}");
        }
        let (upper, short) = (format!("unix:sha256:{}", "0F".repeat(32)), format!("unix:sha256:{}", "0".repeat(63)));
        let long = format!("systemd:unit:{}.service", "a".repeat(248));
        for text in [
            upper.as_str(),
            &short,
            &long,
            "unix:supplementary_gid:01",
            "unix:supplementary_group:",
            "systemd:unit:nginx",
            "k8s:ns:",
            "k8s:ns:a.b",
            "k8s:sa:A",
            "k8s:pod-name:a/b",
            "k8s:pod-uid:a b",
            "k8s:pod-label:app",
            "k8s:pod-label:app=web",
            "k8s:container-name:a_b",
            "k8s:container-image:a b",
            "systemd:unit:.service",
            "systemd:unit:user.slice",
            "systemd:unit:a/b.service",
            "systemd:unit:a b.service",
            "signet:file:",
            "signet:file:A",
            "signet:file:-a",
            "signet:file:a/b",
        ] {
            assert!(matches!(Selector::parse(text), Err(SelectorError::Value { .. })), "{text}");
        }
        assert!(matches!(Selector::parse(&format!("unix:path:/{}", "a".repeat(5000))), Err(SelectorError::TooLong { .. })));
    }
}
