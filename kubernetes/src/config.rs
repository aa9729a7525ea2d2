//! The keys of a configuration that say where the API server is, and what this process shows to it.

use std::path::PathBuf;
use std::str::FromStr;

use mtls::https::HttpsUrl;
use runtime::config::{Section, absolute_path};

/// The service that every cluster has for its API server (its certificate names it).
const IN_CLUSTER: &str = "https://kubernetes.default.svc";
/// Where the kubelet projects what a container needs to reach it.
const PROJECTED_ROOTS: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
const PROJECTED_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// An API server, and what proves this process to it. The defaults are those of a container in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// `https://host[:port]`.
    pub api_server: HttpsUrl,
    /// PEM file with the only authorities that count for its certificate; read for each connection. Absolute.
    pub roots: PathBuf,
    /// The file with the bearer token of this process; read again while it is used, since the kubelet replaces it. Absolute.
    pub token_file: PathBuf,
}

impl ClusterConfig {
    /// Reads `api_server`, `roots` and `token_file` of a table. Faults go to its document.
    #[must_use]
    pub fn read(section: &Section<'_>) -> Option<Self> {
        let given = section.has("api_server");
        let api_server = section.optional("api_server", |text| {
            let url = HttpsUrl::from_str(text).map_err(|error| error.to_string())?;
            if url.is_of_server() { Ok(url) } else { Err("expected https://host:port with nothing behind it".to_owned()) }
        });
        let api_server = if given { api_server } else { IN_CLUSTER.parse().ok() };
        let roots = section.optional("roots", absolute_path);
        let token_file = section.optional("token_file", absolute_path);
        Some(Self {
            api_server: api_server?,
            roots: roots.unwrap_or_else(|| PROJECTED_ROOTS.into()),
            token_file: token_file.unwrap_or_else(|| PROJECTED_TOKEN.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use runtime::config::Document;

    use super::*;

    fn read(text: &str) -> Result<Option<ClusterConfig>, String> {
        let document = Document::parse("f", text).map_err(|error| error.to_string())?;
        let root = document.root();
        let config = ClusterConfig::read(&root);
        drop(root);
        document.finish().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn the_defaults_are_those_of_a_container_in_the_cluster() {
        let config = read("").unwrap().unwrap();
        assert_eq!(config.api_server.as_str(), "https://kubernetes.default.svc");
        assert_eq!(config.roots.to_str(), Some(PROJECTED_ROOTS));
        assert_eq!(config.token_file.to_str(), Some(PROJECTED_TOKEN));
        let other = read("api_server = \"https://10.0.0.1:6443\"\nroots = \"/r\"\ntoken_file = \"/t\"\n").unwrap().unwrap();
        assert_eq!((other.api_server.as_str(), other.roots.to_str()), ("https://10.0.0.1:6443", Some("/r")));
        for (bad, key) in [
            ("api_server = \"http://10.0.0.1\"", "api_server"),
            ("api_server = \"https://10.0.0.1/api\"", "api_server"),
            ("roots = \"r.pem\"", "roots"),
            ("token_file = \"t\"", "token_file"),
            ("token = \"x\"", "token"),
        ] {
            let faults = read(bad).unwrap_err();
            assert!(faults.contains(key), "{key} in {faults}");
        }
    }
}
