//! `svid inspect`: what a file says, without believing it.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use identity::SpiffeId;
use pki::{Certificate, JwtSvid, LintFinding, Timestamp, lint_authority, lint_leaf};
use serde_json::{Value, json};

use super::file::SvidFile;
use super::{certificate_json, distance, now};
use crate::args::InspectArgs;
use crate::failure::Failure;
use crate::output::{Answer, facts_text, or_dash, printable};

pub(super) fn run(args: &InspectArgs) -> Result<Answer, Failure> {
    let now = now();
    match SvidFile::read(&args.file)? {
        SvidFile::X509(chain) => Ok(x509(&chain, now)),
        SvidFile::Jwt(token) => jwt(&token, now),
    }
}

fn x509(chain: &[Certificate], now: Timestamp) -> Answer {
    let mut text = Vec::new();
    let mut json = Vec::new();
    for (index, certificate) in chain.iter().enumerate() {
        let findings = lint(chain, index);
        text.push(facts_text(facts(index, certificate, &findings, now)));
        let mut described = certificate_json(certificate);
        described["findings"] = match &findings {
            Ok(findings) => {
                let one = |finding: &LintFinding| json!({ "lint": finding.lint, "description": finding.description, "citation": finding.citation });
                findings.iter().map(one).collect()
            }
            Err(_) => Value::Null,
        };
        described["not_linted"] = findings.err().into();
        json.push(described);
    }
    let below = "nothing was verified: `signet svid verify` does that";
    Answer::text(text.join("\n\n"), Value::Array(json)).with_text(below)
}

fn facts(
    index: usize,
    certificate: &Certificate,
    findings: &Result<Vec<LintFinding>, String>,
    now: Timestamp,
) -> [(&'static str, String); 11] {
    let position = match (index, certificate.is_ca()) {
        (0, false) => "leaf".to_owned(),
        (0, true) => "first, a CA".to_owned(),
        (index, true) => format!("CA {index}"),
        (index, false) => format!("number {index}, no CA"),
    };
    let key_ids = [certificate.subject_key_id(), certificate.authority_key_id()]
        .map(|id| id.map_or_else(|| "-".to_owned(), |id| HEXLOWER.encode(id)));
    let findings = match findings {
        Ok(findings) if findings.is_empty() => "none".to_owned(),
        Ok(findings) => findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(why) => format!("not linted: {why}"),
    };
    [
        ("certificate", position),
        ("uris", or_dash(&certificate.uri_sans().join("\n"))),
        ("dns names", or_dash(&certificate.dns_sans().join("\n"))),
        ("subject", or_dash(&certificate.subject())),
        ("issuer", or_dash(&certificate.issuer())),
        ("serial", certificate.serial().to_string()),
        ("key", certificate.public_key().algorithm().to_string()),
        ("from", distance(certificate.not_before(), now)),
        ("until", distance(certificate.not_after(), now)),
        ("key ids", format!("{} under {}", key_ids[0], key_ids[1])),
        ("findings", findings),
    ]
}

/// The findings on one certificate of the chain, or why there can be none: a lint asks how a certificate goes with its issuer.
fn lint(chain: &[Certificate], index: usize) -> Result<Vec<LintFinding>, String> {
    let Some(certificate) = chain.get(index) else { return Ok(Vec::new()) };
    let issuer = chain.get(index + 1);
    let identity = chain.iter().flat_map(|certificate| certificate.uri_sans().first()).find_map(|uri| SpiffeId::parse(uri).ok());
    let Some(identity) = identity else { return Err("no certificate of the chain names a SPIFFE ID".to_owned()) };
    if certificate.is_ca() {
        let self_signed = certificate.subject_der() == certificate.issuer_der();
        return match (self_signed, issuer) {
            (true, _) => Ok(lint_authority(certificate, identity.trust_domain(), None)),
            (false, Some(issuer)) => Ok(lint_authority(certificate, identity.trust_domain(), Some(issuer))),
            (false, None) => Err("its issuer is not in the file".to_owned()),
        };
    }
    match issuer {
        Some(issuer) => Ok(lint_leaf(certificate, &identity, issuer)),
        None => Err("its issuer is not in the file".to_owned()),
    }
}

fn jwt(token: &str, now: Timestamp) -> Result<Answer, Failure> {
    let part = |index: usize| -> Result<Value, Failure> {
        let refused = || Failure::failed("this is no JWT").because("its parts are not JSON in base64url");
        let bytes = token.split('.').nth(index).and_then(|part| BASE64URL_NOPAD.decode(part.as_bytes()).ok());
        serde_json::from_slice(&bytes.ok_or_else(refused)?).map_err(|_| refused())
    };
    let (header, claims) = (part(0)?, part(1)?);
    let finding = JwtSvid::parse(token, now).err().map(|error| error.to_string());
    let time = |name: &str| match claims.get(name).and_then(Value::as_u64) {
        Some(seconds) => distance(Timestamp::from_unix_seconds(seconds), now),
        None => "-".to_owned(),
    };
    let plain = |value: Option<&Value>| match value {
        Some(Value::String(text)) => printable(text),
        Some(value) => printable(&value.to_string()),
        None => "-".to_owned(),
    };
    let facts = [
        ("header", printable(&header.to_string())),
        ("subject", plain(claims.get("sub"))),
        ("audience", plain(claims.get("aud"))),
        ("issued", time("iat")),
        ("until", time("exp")),
        ("findings", finding.clone().unwrap_or_else(|| "none".to_owned())),
    ];
    let json = json!({ "header": header, "claims": claims, "findings": finding.into_iter().collect::<Vec<_>>() });
    Ok(Answer::text(facts_text(facts), json).with_text("nothing was verified: `signet svid verify` does that"))
}
