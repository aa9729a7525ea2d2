//! A certificate from small pieces (RFC 5280 section 4.1), each of which can be replaced.

use crate::der;
use crate::keys::TestKey;

use super::NOW;

pub(super) const DAY: u64 = 24 * 60 * 60;
pub(super) const TRUST_DOMAIN_ID: &str = "spiffe://example.org";
pub(super) const ID: &str = "spiffe://example.org/web";

pub(super) const KEY_USAGE: &str = "2.5.29.15";
pub(super) const ALTERNATIVE_NAMES: &str = "2.5.29.17";
pub(super) const BASIC_CONSTRAINTS: &str = "2.5.29.19";
pub(super) const NAME_CONSTRAINTS: &str = "2.5.29.30";
pub(super) const PURPOSES: &str = "2.5.29.37";
pub(super) const NO_REVOCATION: &str = "2.5.29.56";
pub(super) const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
pub(super) const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";

/// digitalSignature; keyCertSign and cRLSign.
pub(super) const SIGNS: [u8; 2] = [7, 0x80];
pub(super) const ISSUES: [u8; 2] = [1, 0x06];

/// The pieces; start from a good one and spoil it.
pub(super) struct Plan {
    pub(super) key: TestKey,
    /// The whole `[0]`.
    pub(super) version: Vec<u8>,
    /// The whole INTEGER.
    pub(super) serial: Vec<u8>,
    pub(super) inner_algorithm: Option<Vec<u8>>,
    pub(super) outer_algorithm: Option<Vec<u8>>,
    pub(super) issuer: Option<Vec<u8>>,
    pub(super) subject: Vec<u8>,
    /// First and last second, as whole values.
    pub(super) dates: [Vec<u8>; 2],
    pub(super) spki: Vec<u8>,
    /// What stands between the key and the extensions.
    pub(super) before_extensions: Vec<u8>,
    pub(super) extensions: Vec<(String, bool, Vec<u8>)>,
    /// Replaces the whole `[3]`.
    pub(super) raw_extensions: Option<Vec<u8>>,
    /// Replaces the whole BIT STRING.
    pub(super) signature: Option<Vec<u8>>,
}

/// A certificate, and the key that its own signatures are made with.
pub(super) struct Made {
    pub(super) der: Vec<u8>,
    pub(super) subject: Vec<u8>,
    pub(super) key: TestKey,
}

impl Plan {
    /// A CA of this name, a year to both sides of now, whose key is made from the name.
    pub(super) fn authority(name: &str) -> Self {
        let mut plan = Self::blank(TestKey::ed25519(name), common_name(name), [NOW - 365 * DAY, NOW + 365 * DAY]);
        plan.set(BASIC_CONSTRAINTS, true, &der::sequence(&[der::boolean(true)]));
        plan.set(KEY_USAGE, true, &der::value(der::BIT_STRING, &ISSUES));
        plan.set(ALTERNATIVE_NAMES, false, &der::sequence(&[uri(TRUST_DOMAIN_ID)]));
        plan
    }

    /// An SVID, an hour to both sides of now.
    pub(super) fn leaf() -> Self {
        let mut plan = Self::blank(TestKey::ed25519("workload"), der::sequence(&[]), [NOW - 3600, NOW + 3600]);
        plan.set(BASIC_CONSTRAINTS, true, &der::sequence(&[]));
        plan.set(KEY_USAGE, true, &der::value(der::BIT_STRING, &SIGNS));
        plan.set(PURPOSES, false, &der::sequence(&[der::oid(SERVER_AUTH), der::oid(CLIENT_AUTH)]));
        plan.set(ALTERNATIVE_NAMES, true, &der::sequence(&[uri(ID)]));
        plan
    }

    fn blank(key: TestKey, subject: Vec<u8>, dates: [u64; 2]) -> Self {
        Self {
            spki: key.spki.clone(),
            key,
            version: der::of(0xa0, &[der::small(2)]),
            serial: der::unsigned(&[0x5e; 16]),
            inner_algorithm: None,
            outer_algorithm: None,
            issuer: None,
            subject,
            dates: dates.map(time),
            before_extensions: Vec::new(),
            extensions: Vec::new(),
            raw_extensions: None,
            signature: None,
        }
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(super) fn key(self, key: TestKey) -> Self {
        self.with(|plan| {
            plan.spki = key.spki.clone();
            plan.key = key;
        })
    }

    pub(super) fn valid(self, from: u64, to: u64) -> Self {
        self.with(|plan| plan.dates = [from, to].map(time))
    }

    /// Puts an extension in, in the place of one of the same name.
    pub(super) fn set(&mut self, oid: &str, critical: bool, content: &[u8]) {
        self.extensions.retain(|(other, ..)| other != oid);
        self.extensions.push((oid.to_owned(), critical, content.to_vec()));
    }

    pub(super) fn extension(self, oid: &str, critical: bool, content: &[u8]) -> Self {
        self.with(|plan| plan.set(oid, critical, content))
    }

    pub(super) fn without(self, oid: &str) -> Self {
        self.with(|plan| plan.extensions.retain(|(other, ..)| other != oid))
    }

    /// With these alternative names, as critical as they were.
    pub(super) fn named(self, names: &[Vec<u8>]) -> Self {
        let critical = self.extensions.iter().any(|(oid, critical, _)| oid == ALTERNATIVE_NAMES && *critical);
        self.extension(ALTERNATIVE_NAMES, critical, &der::sequence(names))
    }

    /// With this one URI.
    pub(super) fn id(self, id: &str) -> Self {
        self.named(&[uri(id)])
    }

    pub(super) fn under(self, issuer: &Made) -> Made {
        let der = self.encode(&issuer.key, &issuer.subject);
        Made { der, subject: self.subject, key: self.key }
    }

    pub(super) fn self_signed(self) -> Made {
        let der = self.encode(&self.key, &self.subject);
        Made { der, subject: self.subject, key: self.key }
    }

    fn encode(&self, signer: &TestKey, issuer: &[u8]) -> Vec<u8> {
        let extensions = self.raw_extensions.clone().unwrap_or_else(|| {
            let encoded: Vec<_> =
                self.extensions.iter().map(|(oid, critical, content)| extension(oid, *critical, content)).collect();
            if encoded.is_empty() { Vec::new() } else { der::of(0xa3, &[der::sequence(&encoded)]) }
        });
        let tbs = der::sequence(&[
            self.version.clone(),
            self.serial.clone(),
            self.inner_algorithm.clone().unwrap_or_else(|| signer.algorithm.clone()),
            self.issuer.clone().unwrap_or_else(|| issuer.to_vec()),
            der::sequence(&self.dates),
            self.subject.clone(),
            self.spki.clone(),
            self.before_extensions.clone(),
            extensions,
        ]);
        let signature = self.signature.clone().unwrap_or_else(|| der::bits(&signer.sign(&tbs)));
        der::sequence(&[tbs, self.outer_algorithm.clone().unwrap_or_else(|| signer.algorithm.clone()), signature])
    }
}

pub(super) fn extension(oid: &str, critical: bool, content: &[u8]) -> Vec<u8> {
    let critical = if critical { der::boolean(true) } else { Vec::new() };
    der::sequence(&[der::oid(oid), critical, der::octets(content)])
}

pub(super) fn uri(text: &str) -> Vec<u8> {
    der::value(0x86, text.as_bytes())
}

pub(super) fn common_name(name: &str) -> Vec<u8> {
    der::sequence(&[der::set(&[der::sequence(&[der::oid("2.5.4.3"), der::value(der::UTF8_STRING, name.as_bytes())])])])
}

/// A time of this century's first half as UTCTime (RFC 5280 section 4.1.2.5.1).
pub(super) fn time(unix_seconds: u64) -> Vec<u8> {
    let (mut days, second) = (unix_seconds / DAY, unix_seconds % DAY);
    let leap = |year: u64| year.is_multiple_of(4);
    let mut year = 1970;
    while days >= if leap(year) { 366 } else { 365 } {
        days -= if leap(year) { 366 } else { 365 };
        year += 1;
    }
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let text = format!("{:02}{:02}{:02}{hour:02}{minute:02}{second:02}Z", year % 100, month + 1, days + 1);
    der::value(der::UTC_TIME, text.as_bytes())
}
