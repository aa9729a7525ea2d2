//! `bundle ...`.

use std::path::Path;

use identity::TrustDomain;
use pki::{JwksContent, TrustBundle};
use proto::v1;
use runtime::private_files::{Overwrite, write_public};
use serde_json::{Value, json};

use super::svid;
use crate::admin_client::{ca_admin, request};
use crate::args::{BundleSource, BundleVerb, ExportArgs, FileForm, ImportArgs};
use crate::failure::Failure;
use crate::input;
use crate::output::{Answer, print_line};
use crate::output_format::OutputFormat;
use crate::workload_client::{WorkloadClient, bundle_of};

pub(super) async fn run(verb: BundleVerb, format: OutputFormat) -> Result<(), Failure> {
    match verb {
        BundleVerb::Show(source) => shown(&from_source(&source).await?).print(format),
        BundleVerb::Export(args) => export(&args).await,
        BundleVerb::Import(args) => import(&args)?.print(format),
    }
}

async fn from_source(source: &BundleSource) -> Result<TrustBundle, Failure> {
    match (&source.file, &source.trust_domain, &source.api_socket) {
        (Some(file), Some(trust_domain), _) => read_bundle(file, trust_domain),
        (_, wanted, Some(socket)) => bundle_of(WorkloadClient::at(socket).await?.fetch_bundles().await?, wanted.as_ref()),
        _ => {
            let answer = ca_admin(&source.admin.socket).await?.get_bundle(request(v1::GetBundleRequest {})).await;
            let v1::GetBundleResponse { trust_domain, document } =
                answer.map_err(|status| Failure::from_status("bundle", &status))?.into_inner();
            let trust_domain = TrustDomain::parse(&trust_domain).map_err(|error| error.to_string());
            trust_domain
                .and_then(|trust_domain| parse_bundle(document.as_bytes(), &trust_domain))
                .map_err(|why| Failure::failed("the CA's answer is not what it should be").because(why))
        }
    }
}

/// A bundle from a file (`-`: standard input) of either form; PEM has no sequence, so that one is 0.
pub(super) fn read_bundle(path: &Path, trust_domain: &TrustDomain) -> Result<TrustBundle, Failure> {
    let bytes = input::read(path, svid::MAX_INPUT_BYTES)?;
    parse_bundle(&bytes, trust_domain).map_err(|why| {
        Failure::failed(format!("{} is no trust bundle of {trust_domain}", path.display()))
            .because(why)
            .advise("name a PEM file with the authorities, or a SPIFFE JWKS document")
    })
}

fn parse_bundle(bytes: &[u8], trust_domain: &TrustDomain) -> Result<TrustBundle, String> {
    if bytes.trim_ascii_start().starts_with(b"{") {
        TrustBundle::from_jwks(trust_domain.clone(), bytes).map_err(|error| error.to_string())
    } else {
        TrustBundle::from_pem(trust_domain.clone(), bytes, 0).map_err(|error| error.to_string())
    }
}

fn shown(bundle: &TrustBundle) -> Answer {
    let now = svid::now();
    let mut rows: Vec<_> = bundle
        .authorities()
        .iter()
        .map(|authority| {
            let sha256 = data_encoding::HEXLOWER.encode(&authority.fingerprint());
            vec!["X.509".to_owned(), authority.subject(), sha256, svid::distance(authority.not_after(), now)]
        })
        .collect();
    rows.extend(bundle.jwt_authorities().iter().map(|authority| {
        let key = authority.public_key().algorithm().to_string();
        vec!["JWT".to_owned(), key, authority.key_id().as_str().to_owned(), "-".to_owned()]
    }));
    let heading = format!("trust bundle of {}, sequence {}", bundle.trust_domain(), bundle.sequence());
    Answer::table(&["for", "subject or kind", "sha-256 or key id", "until"], rows, "no authorities", bundle_json(bundle))
        .with_text(&heading)
}

/// What a bundle holds, for programs.
pub(super) fn bundle_json(bundle: &TrustBundle) -> Value {
    let jwt = bundle
        .jwt_authorities()
        .iter()
        .map(|authority| json!({ "key_id": authority.key_id().as_str(), "key": authority.public_key().algorithm().to_string() }));
    json!({
        "trust_domain": bundle.trust_domain().to_string(),
        "sequence": bundle.sequence(),
        "x509_authorities": bundle.authorities().iter().map(svid::certificate_json).collect::<Vec<_>>(),
        "jwt_authorities": jwt.collect::<Vec<_>>(),
    })
}

async fn export(args: &ExportArgs) -> Result<(), Failure> {
    let bundle = from_source(&args.source).await?;
    print_line(written(&bundle, args.form).trim_end())
}

fn written(bundle: &TrustBundle, form: FileForm) -> String {
    match form {
        FileForm::Pem => bundle.to_pem(),
        FileForm::Jwks => format!("{}\n", bundle.to_jwks(JwksContent::All)),
    }
}

/// Nothing is written before the whole is checked, and a bundle with a sequence never takes the place of a later one: an old copy
/// would bring back authorities that were taken out.
fn import(args: &ImportArgs) -> Result<Answer, Failure> {
    let ImportArgs { file, trust_domain, into, form } = args;
    let bundle = read_bundle(file, trust_domain)?;
    if bundle.authorities().is_empty() {
        return Err(Failure::failed("the bundle holds no X.509 authority").because("whoever reads it would trust nobody"));
    }
    if into.exists() {
        let present = read_bundle(into, trust_domain)?;
        if bundle.sequence() < present.sequence() {
            return Err(Failure::failed(format!("{} is older than what is in place", file.display()))
                .because(format!("its sequence is {}, that of {} is {}", bundle.sequence(), into.display(), present.sequence()))
                .advise(format!("remove {} first if that is what you want", into.display())));
        }
    }
    write_public(into, written(&bundle, *form).as_bytes(), Overwrite::Replace)
        .map_err(|error| Failure::failed("the bundle is not in place").because(error))?;
    let done = format!("{} authorities of {trust_domain} are in {}", bundle.authorities().len(), into.display());
    Ok(shown(&bundle).with_text(&done))
}

#[cfg(test)]
mod tests;
