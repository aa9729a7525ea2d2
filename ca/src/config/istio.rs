//! The section `[istio]`: what callers in Istio's way may ask, and how often.

use std::num::NonZeroU32;
use std::time::Duration;

use runtime::config::Section;

/// The section, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IstioConfig {
    /// Whether `IstioCertificateService/CreateCertificate` is served.
    pub create_certificate: bool,
    /// Whether `IstioCAService/HandleCSR`, the API of Istio 1.1 to 1.4, is served.
    pub handle_csr: bool,
    /// For how long after its first certificate a caller may renew by certificate alone.
    pub max_renewal_age: Duration,
    /// Certificates that one identity may have in a minute, over time.
    pub rate_per_minute: NonZeroU32,
    /// Certificates that one identity may have at once, after a pause.
    pub rate_burst: NonZeroU32,
}

/// Reads the section. Faults go to the document.
pub(super) fn read(section: &Section<'_>) -> IstioConfig {
    let max_renewal_age = section.duration("max_renewal_age");
    if max_renewal_age.is_some_and(|age| age > MAX_MAX_RENEWAL_AGE) {
        section.fault(
            "max_renewal_age",
            format!("more than {MAX_MAX_RENEWAL_AGE:?}: who stole a certificate and its key could go on for ever"),
        );
    }
    let count = |key| section.integer(key, 1..=MAX_RATE).and_then(|count| u32::try_from(count).ok()).and_then(NonZeroU32::new);
    let rate_per_minute = count("rate_per_minute").unwrap_or(DEFAULT_RATE_PER_MINUTE);
    IstioConfig {
        create_certificate: section.boolean("create_certificate").unwrap_or(true),
        handle_csr: section.boolean("handle_csr").unwrap_or(false),
        max_renewal_age: max_renewal_age.unwrap_or(DEFAULT_MAX_RENEWAL_AGE),
        rate_per_minute,
        rate_burst: count("rate_burst").unwrap_or(rate_per_minute),
    }
}

const DEFAULT_MAX_RENEWAL_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const MAX_MAX_RENEWAL_AGE: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// One identity is shared by all replicas of a workload, which may all start in the same minute.
const DEFAULT_RATE_PER_MINUTE: NonZeroU32 = NonZeroU32::new(600).expect("it is not zero");
const MAX_RATE: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use crate::config::CaConfig;

    const SMALLEST: &str = "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nlisten = \"127.0.0.1:0\"\n";

    #[test]
    fn the_old_service_is_off_and_the_new_one_on_by_default() {
        let istio = CaConfig::parse("ca.toml", SMALLEST).unwrap().istio;
        assert!(istio.create_certificate && !istio.handle_csr);
        assert_eq!(istio.max_renewal_age.as_secs(), 30 * 86_400);
        assert_eq!((istio.rate_per_minute.get(), istio.rate_burst.get()), (600, 600));
    }

    #[test]
    fn each_key_is_read_and_bounded() {
        let read = |text: &str| CaConfig::parse("ca.toml", &format!("{SMALLEST}[istio]\n{text}"));
        let text = "create_certificate = false\nhandle_csr = true\nmax_renewal_age = \"1h\"\nrate_per_minute = 6\n";
        let istio = read(text).unwrap().istio;
        assert!(!istio.create_certificate && istio.handle_csr);
        assert_eq!(istio.max_renewal_age.as_secs(), 3600);
        assert_eq!((istio.rate_per_minute.get(), istio.rate_burst.get()), (6, 6), "a minute's worth at once");
        for bad in ["max_renewal_age = \"367d\"", "rate_per_minute = 0", "rate_burst = 0", "rate_burst = 1000001", "rate = 1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
