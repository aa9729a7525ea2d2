//! What of `metadata` means something here.

use super::names::{is_label, is_subdomain};
use super::{Kind, ReadOptions};
use crate::diagnostic::{Code, Findings, Severity, quoted};
use crate::document::Cursor;

/// The name, namespace and age of an object, and the annotations that change what it means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The name.
    pub name: String,
    /// The namespace; empty for an object of the cluster.
    pub namespace: String,
    /// When Kubernetes made it; absent in files of users. What has no age counts as the youngest.
    pub created: Option<Timestamp>,
    /// The annotation `istio.io/dry-run`, as it was written.
    pub dry_run: Option<String>,
}

/// A time, in seconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

const FIELDS: &[&str] = &[
    "name",
    "namespace",
    "creationTimestamp",
    "annotations",
    // What follows is known to Kubernetes and means nothing here.
    "labels",
    "uid",
    "resourceVersion",
    "generation",
    "generateName",
    "managedFields",
    "ownerReferences",
    "finalizers",
    "selfLink",
    "clusterName",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "initializers",
];

impl Metadata {
    /// Reads it; what cannot be read is empty, and said.
    pub(super) fn read(kind: Kind, cursor: Option<&Cursor<'_>>, options: &ReadOptions, findings: &mut Findings) -> Self {
        let Some(cursor) = cursor else {
            findings.add(Code::BadName, crate::document::Position::default(), "metadata", "metadata is missing");
            return Self { namespace: Self::default_namespace(kind, options), ..Self::default() };
        };
        let fields = cursor.fields(FIELDS, findings);
        let name = fields.text("name", findings);
        if !is_subdomain(&name) {
            fields.fault(findings, Code::BadName, "name", format!("{} is no name of an object", quoted(&name)));
        }
        let mut namespace = fields.text("namespace", findings);
        if kind.is_cluster_scoped() {
            if !namespace.is_empty() {
                let what = format!("a {kind} is in no namespace");
                fields.fault(findings, Code::NamespaceIgnored, "namespace", what);
            }
            namespace.clear();
        } else if namespace.is_empty() {
            namespace = Self::default_namespace(kind, options);
        } else if !is_label(&namespace) {
            fields.fault(findings, Code::BadNamespace, "namespace", format!("{} is no name of a namespace", quoted(&namespace)));
        }
        let created = fields.text("creationTimestamp", findings);
        let timestamp = Timestamp::parse(&created);
        if !created.is_empty() && timestamp.is_none() {
            fields.fault(findings, Code::BadTime, "creationTimestamp", format!("{} is no time", quoted(&created)));
        }
        let mut dry_run = None;
        if let Some(annotations) = fields.get("annotations") {
            for (key, value) in annotations.entries(findings).into_iter().filter(|(key, _)| *key == "istio.io/dry-run") {
                dry_run = value.text(findings).map(str::to_owned);
                if dry_run.as_deref().is_some_and(|text| go_boolean(text).is_none()) {
                    value.fault(findings, Code::BadDryRun, format!("{key} has a value that is no boolean"));
                }
                if kind != Kind::AuthorizationPolicy {
                    let what = format!("a {kind} has no dry run");
                    findings.add_as(Code::DryRunUnsupported, Severity::Warning, value.node.at, &value.path, what);
                }
            }
        }
        Self { name, namespace, created: timestamp, dry_run }
    }

    fn default_namespace(kind: Kind, options: &ReadOptions) -> String {
        if kind.is_cluster_scoped() { String::new() } else { options.default_namespace.clone() }
    }

    /// Whether the annotation asks for a dry run. One that is no boolean does not.
    pub(super) fn asks_for_dry_run(&self) -> bool {
        self.dry_run.as_deref().and_then(go_boolean).unwrap_or_default()
    }
}

/// A boolean as Go's `strconv.ParseBool` takes it, by which Istio reads the annotation.
fn go_boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

impl Timestamp {
    /// Reads a time as RFC 3339 has it; fractions of a second are dropped.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_once(['T', 't'])?;
        let mut parts = date.splitn(3, '-');
        let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
        let zone = rest.find(['Z', 'z', '+', '-'])?;
        let (clock, zone) = rest.split_at(zone);
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mut parts = clock.splitn(3, ':');
        let (hour, minute, second) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let last_day = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let fits = (1..=12).contains(&month) && (1..=last_day).contains(&day) && hour < 24 && minute < 60 && second <= 60;
        let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
        fits.then_some(Self(seconds - offset(zone)?))
    }
}

/// The seconds by which a zone is ahead.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Days of the Gregorian calendar, counted from March so that the leap day ends a year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_rfc_3339_has_them() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2019-03-19T10:00:00Z", 1_552_989_600),
            ("2019-03-19t12:30:00.999+02:30", 1_552_989_600),
            ("2019-03-19T09:00:00-01:00", 1_552_989_600),
            ("1969-12-31T23:59:59Z", -1),
        ] {
            assert_eq!(Timestamp::parse(text), Some(Timestamp(seconds)), "{text}");
        }
        for text in [
            "",
            "2019-03-19",
            "2019-03-19T10:00:00",
            "2019-13-19T10:00:00Z",
            "2019-02-29T10:00:00Z",
            "1900-02-29T10:00:00Z",
            "2019-04-31T10:00:00Z",
            "2019-03-00T10:00:00Z",
            "2019-03-19T24:00:00Z",
            "2019-03-19T10:60:00Z",
            "2019-03-19T10:00:61Z",
            "2019-03-19T10:00:00.Z",
            "2019-03-19T10:00:00+2",
            "2019-03-19T10:00:00+24:00",
            "2019-3-19T10:00:00Z",
            "+019-03-19T10:00:00Z",
            "2019-03-19T10:00:00Zz",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn dry_run_is_a_boolean_of_go() {
        assert!(["1", "t", "True"].iter().all(|text| go_boolean(text) == Some(true)));
        assert!(["0", "F", "false"].iter().all(|text| go_boolean(text) == Some(false)));
        assert!(["", "yes", "tRUE", " true"].iter().all(|text| go_boolean(text).is_none()));
    }
}
