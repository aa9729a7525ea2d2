//! `[federation]`: whose bundles are followed in which way, and how the own one is published.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use mtls::https::AddressRange;
use runtime::config::{Section, absolute_path};

/// What `[federation]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederationConfig {
    /// A bundle is asked for no more often, whatever its publisher would have.
    pub min_refresh: Duration,
    /// PEM file of the authorities that endpoints of the profile `https_web` stand under; `None`: those of the system. Absolute.
    pub web_roots: Option<PathBuf>,
    /// Addresses that are connected to though they are not public.
    pub allow_addresses: Vec<AddressRange>,
    /// Where the own bundle is published; `None`: nowhere.
    pub endpoint: Option<EndpointConfig>,
}

/// What `[federation.endpoint]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Where others connect; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// What is shown to them.
    pub identity: EndpointIdentity,
    /// How often readers should look again.
    pub refresh_hint: Duration,
}

/// What the endpoint shows (SPIFFE Federation section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointIdentity {
    /// Profile `https_web`: a certificate of the web, PEM files, read again when they change. Absolute.
    Web {
        /// The chain, leaf first.
        certificate: PathBuf,
        /// The key of the leaf.
        key: PathBuf,
    },
    /// Profile `https_spiffe`: the CA's own serving certificate.
    Spiffe,
}

/// Reads the table. Faults go to the document.
pub(super) fn read(section: &Section<'_>) -> FederationConfig {
    let min_refresh = span(section, "min_refresh", DEFAULT_MIN_REFRESH, MAX_MIN_REFRESH);
    let allow_addresses = section.list("allow_addresses", AddressRange::from_str);
    if allow_addresses.len() > MAX_LISTED {
        section.fault("allow_addresses", format!("{} elements; at most {MAX_LISTED} are read", allow_addresses.len()));
    }
    let web_roots = section.optional("web_roots", absolute_path);
    let endpoint = section.has("endpoint").then(|| read_endpoint(&section.section("endpoint"))).flatten();
    FederationConfig { min_refresh, web_roots, allow_addresses, endpoint }
}

fn read_endpoint(section: &Section<'_>) -> Option<EndpointConfig> {
    let listen = section.required("listen", super::listen_address);
    let profile = section.required("profile", |text| match text {
        "https_web" | "https_spiffe" => Ok(text.to_owned()),
        other => Err(format!("\"{other}\" is not \"https_web\" or \"https_spiffe\"")),
    });
    let refresh_hint = span(section, "refresh_hint", DEFAULT_REFRESH_HINT, MAX_REFRESH_HINT);
    let identity = match profile?.as_str() {
        "https_web" => {
            let (certificate, key) = (section.required("certificate", absolute_path), section.required("key", absolute_path));
            EndpointIdentity::Web { certificate: certificate?, key: key? }
        }
        _ => {
            for key in ["certificate", "key"] {
                if section.has(key) {
                    section
                        .fault(key, "only for the profile \"https_web\": with \"https_spiffe\" the CA shows its own certificate");
                }
            }
            EndpointIdentity::Spiffe
        }
    };
    Some(EndpointConfig { listen: listen?, identity, refresh_hint })
}

fn span(section: &Section<'_>, key: &'static str, default: Duration, max: Duration) -> Duration {
    let span = section.duration(key).unwrap_or(default);
    if !(MIN_SPAN..=max).contains(&span) || span.subsec_nanos() != 0 {
        section.fault(key, format!("{span:?} is not whole seconds between {MIN_SPAN:?} and {max:?}"));
    }
    span
}

const MAX_LISTED: usize = 16;
const MIN_SPAN: Duration = Duration::from_secs(1);
const DEFAULT_MIN_REFRESH: Duration = Duration::from_secs(60);
const MAX_MIN_REFRESH: Duration = Duration::from_secs(60 * 60);
/// What readers do who are told nothing (SPIFFE Trust Domain and Bundle section 4.1.2).
const DEFAULT_REFRESH_HINT: Duration = Duration::from_secs(5 * 60);
const MAX_REFRESH_HINT: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CaConfig;

    const SMALLEST: &str = "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nlisten = \"127.0.0.1:0\"\n";

    fn read(text: &str) -> Result<FederationConfig, String> {
        let config = CaConfig::parse("ca.toml", &format!("{SMALLEST}{text}"));
        config.map(|config| config.federation).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_published_unless_somebody_says_where() {
        let config = read("").unwrap();
        assert_eq!((config.min_refresh.as_secs(), &config.endpoint, &config.web_roots), (60, &None, &None));
        assert!(config.allow_addresses.is_empty());
    }

    #[test]
    fn each_profile_takes_its_own_keys() {
        let web = "[federation]\nmin_refresh = \"1s\"\nweb_roots = \"/r.pem\"\nallow_addresses = [\"10.0.0.0/8\"]\n\
                   [federation.endpoint]\nlisten = \"0.0.0.0:8444\"\nprofile = \"https_web\"\ncertificate = \"/c.pem\"\nkey = \"/k.pem\"\n\
                   refresh_hint = \"10s\"\n";
        let config = read(web).unwrap();
        assert_eq!((config.min_refresh.as_secs(), config.allow_addresses.len()), (1, 1));
        let endpoint = config.endpoint.unwrap();
        assert_eq!(endpoint.identity, EndpointIdentity::Web { certificate: "/c.pem".into(), key: "/k.pem".into() });
        assert_eq!(endpoint.refresh_hint.as_secs(), 10);
        let spiffe = "[federation.endpoint]\nlisten = \"0.0.0.0:8444\"\nprofile = \"https_spiffe\"\n";
        let endpoint = read(spiffe).unwrap().endpoint.unwrap();
        assert_eq!((endpoint.identity, endpoint.refresh_hint.as_secs()), (EndpointIdentity::Spiffe, 300));
    }

    #[test]
    fn each_fault_is_told() {
        let endpoint = "[federation.endpoint]\nlisten = \"0.0.0.0:8444\"\n";
        for (text, told) in [
            ("[federation]\nmin_refresh = \"0s\"\n".to_owned(), "federation.min_refresh"),
            ("[federation]\nmin_refresh = \"61m\"\n".to_owned(), "federation.min_refresh"),
            ("[federation]\nweb_roots = \"r.pem\"\n".to_owned(), "not an absolute path"),
            ("[federation]\nallow_addresses = [\"10.0.0.1/8\"]\n".to_owned(), "10.0.0.0/8"),
            ("[federation.endpoint]\nprofile = \"https_spiffe\"\n".to_owned(), "federation.endpoint.listen: missing"),
            (endpoint.to_owned(), "federation.endpoint.profile: missing"),
            (format!("{endpoint}profile = \"http\"\n"), "is not \"https_web\" or \"https_spiffe\""),
            (format!("{endpoint}profile = \"https_web\"\nkey = \"/k\"\n"), "federation.endpoint.certificate: missing"),
            (format!("{endpoint}profile = \"https_spiffe\"\nkey = \"/k\"\n"), "only for the profile"),
            (format!("{endpoint}profile = \"https_spiffe\"\nrefresh_hint = \"25h\"\n"), "federation.endpoint.refresh_hint"),
            ("[federation]\nmax_refresh = \"1h\"\n".to_owned(), "unknown key"),
        ] {
            let faults = read(&text).expect_err(&text);
            assert!(faults.contains(told), "{told:?} is not in:\n{faults}");
        }
    }
}
