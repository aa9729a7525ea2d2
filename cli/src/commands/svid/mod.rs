//! `svid ...`.

mod fetch;
mod file;
mod inspect;
mod verify;

use pki::{Certificate, Timestamp};
use runtime::clock::SystemClock;
use serde_json::{Value, json};

use crate::args::{FetchVerb, SvidVerb};
use crate::failure::Failure;
use crate::output_format::OutputFormat;

pub(super) use file::MAX_INPUT_BYTES;

pub(super) async fn run(verb: SvidVerb, format: OutputFormat) -> Result<(), Failure> {
    match verb {
        SvidVerb::Fetch(FetchVerb::X509(args)) => fetch::x509(&args).await?.print(format),
        SvidVerb::Fetch(FetchVerb::Jwt(args)) => fetch::jwt(&args).await?.print(format),
        SvidVerb::Watch(args) => fetch::watch(&args, format).await,
        SvidVerb::Inspect(args) => inspect::run(&args)?.print(format),
        SvidVerb::Verify(args) => verify::run(&args, format).await,
    }
}

/// This machine's clock.
pub(super) fn now() -> Timestamp {
    SystemClock::shared().now().into()
}

/// A time with its distance from now, for people.
pub(super) fn distance(time: Timestamp, now: Timestamp) -> String {
    let span = |span: std::time::Duration| humantime::format_duration(span).to_string();
    if time >= now { format!("{time} (in {})", span(time.since(now))) } else { format!("{time} ({} ago)", span(now.since(time))) }
}

/// What a certificate says of itself, for programs.
pub(super) fn certificate_json(certificate: &Certificate) -> Value {
    json!({
        "subject": certificate.subject(),
        "issuer": certificate.issuer(),
        "serial": certificate.serial().to_string(),
        "uris": certificate.uri_sans(),
        "dns_names": certificate.dns_sans(),
        "key": certificate.public_key().algorithm().to_string(),
        "ca": certificate.is_ca(),
        "not_before": certificate.not_before().to_string(),
        "not_after": certificate.not_after().to_string(),
        "sha256": data_encoding::HEXLOWER.encode(&certificate.fingerprint()),
    })
}
