//! Where the Workload API is, as the environment says it (SPIFFE Workload Endpoint section 4).

use std::ffi::OsString;
use std::path::PathBuf;

/// Why the environment names no Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SPIFFE_ENDPOINT_SOCKET is {found:?}, which is not unix:///an/absolute/path")]
pub struct EndpointError {
    /// What it says.
    pub found: OsString,
}

/// The socket that `SPIFFE_ENDPOINT_SOCKET` names; `None` when it is not set.
///
/// # Errors
/// [`EndpointError`] when it is no `unix:` URI with an absolute path and without an authority. (An agent of ours is never reached by
/// TCP, where the kernel could not say who calls.)
pub fn from_environment() -> Result<Option<PathBuf>, EndpointError> {
    #[expect(clippy::disallowed_methods, reason = "the standard names this variable as a client's way to the endpoint")]
    let named = std::env::var_os("SPIFFE_ENDPOINT_SOCKET");
    named.filter(|value| !value.is_empty()).map(parse).transpose()
}

fn parse(value: OsString) -> Result<PathBuf, EndpointError> {
    let path = value.to_str().and_then(|text| text.strip_prefix("unix:")).and_then(|rest| {
        // `unix:///path` and `unix:/path`; `unix://path` would have an authority.
        let path = rest.strip_prefix("//").unwrap_or(rest);
        (path.starts_with('/') && !path.contains(['?', '#'])).then(|| PathBuf::from(path))
    });
    path.ok_or(EndpointError { found: value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_absolute_path_of_a_unix_socket_is_taken() {
        for good in ["unix:///run/api.sock", "unix:/run/api.sock"] {
            assert_eq!(parse(good.into()).unwrap(), PathBuf::from("/run/api.sock"));
        }
        for bad in
            ["/run/api.sock", "unix://run/api.sock", "unix:api.sock", "tcp://127.0.0.1:80", "unix:", "unix:///a?b", "UNIX:///a"]
        {
            assert_eq!(parse(bad.into()).unwrap_err().found, bad);
        }
    }
}
