//! `security.istio.io` RequestAuthentication (Istio, `v1` and `v1beta1`).

use super::metadata::Metadata;
use super::scope::{SCOPE_FIELDS, Scope};
use super::token::{KeySource, Tokens, check_header, names};
use crate::diagnostic::{Code, Findings, Subject, quoted};
use crate::document::{Cursor, Fields, Node};

/// Which tokens are valid at the workloads that it selects. It never asks for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestAuthentication {
    /// Its name, namespace and age.
    pub metadata: Metadata,
    /// Whom it selects. In the root namespace: in every namespace.
    pub scope: Scope,
    /// The rules, of which those of all objects that select a workload hold together.
    pub tokens: Tokens<JwtRule>,
}

/// Tokens of one issuer (Istio `JWTRule`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwtRule {
    /// `iss`; empty means any, which is allowed beside a place of keys alone.
    pub issuer: String,
    /// One of these must be in `aud`; empty asks for none.
    pub audiences: Vec<String>,
    /// Where the keys come from.
    pub keys: KeySource,
    /// Headers in which a token is looked for.
    pub from_headers: Vec<TokenHeader>,
    /// Query parameters in which a token is looked for.
    pub from_params: Vec<String>,
    /// Cookies in which a token is looked for.
    pub from_cookies: Vec<String>,
    /// The header in which the payload is handed on; empty for none.
    pub output_payload_to_header: String,
    /// Whether the token itself is handed on.
    pub forward_original_token: bool,
    /// Claims that are handed on in headers.
    pub output_claims: Vec<ClaimOutput>,
    /// How long fetching keys may take, in milliseconds.
    pub timeout_millis: u64,
    /// Claims whose text is a list with spaces between its items; `scope` and `permission` always are.
    pub space_delimited_claims: Vec<String>,
}

/// A header in which a token is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenHeader {
    /// Its name, as it was written.
    pub name: String,
    /// What stands before the token, such as `Bearer `; may be empty.
    pub prefix: String,
}

/// A claim that is handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimOutput {
    /// The name of the header.
    pub header: String,
    /// The claim; those within others have dots between their names.
    pub claim: String,
}

/// Istio's limit.
const MAX_RULES: usize = 4_096;
/// A limit of our own.
const MAX_LOCATIONS: usize = 1_000;
/// Istio's default of `timeout`.
const TIMEOUT_MILLIS: u64 = 5_000;

const FIELDS: &[&str] = &[SCOPE_FIELDS[0], SCOPE_FIELDS[1], SCOPE_FIELDS[2], "jwtRules"];

const RULE_FIELDS: &[&str] = &[
    "issuer",
    "audiences",
    "jwksUri",
    "jwks",
    "fromHeaders",
    "fromParams",
    "fromCookies",
    "outputPayloadToHeader",
    "forwardOriginalToken",
    "outputClaimToHeaders",
    "timeout",
    "spaceDelimitedClaims",
];

impl RequestAuthentication {
    pub(super) fn read(metadata: Metadata, spec: &Cursor<'_>, findings: &mut Findings) -> Self {
        let fields = spec.fields(FIELDS, findings);
        let scope = Scope::read(&fields, findings);
        let rules = fields.items("jwtRules", MAX_RULES, findings);
        let rules = rules.iter().map(|cursor| rule(cursor, findings)).collect();
        Self { metadata, scope, tokens: Tokens::Rules(rules) }
    }

    /// No token is valid.
    pub(super) fn strictest(metadata: Metadata, spec: Option<&Node>) -> Self {
        let mut findings = Findings::new(Subject::default());
        let fields = spec.map(|spec| Cursor::new(spec).fields(FIELDS, &mut findings));
        let fields = fields.filter(|_| !findings.has(Code::FieldTwice));
        Self { metadata, scope: Scope::of_refused(fields.as_ref()), tokens: Tokens::AllInvalid }
    }
}

fn rule(cursor: &Cursor<'_>, findings: &mut Findings) -> JwtRule {
    if cursor.node.is_null() {
        cursor.fault(findings, Code::NullItem, "the rule is null");
        return JwtRule::default();
    }
    let fields = cursor.fields(RULE_FIELDS, findings);
    let issuer = fields.text("issuer", findings);
    if issuer.is_empty() && fields.text("jwksUri", findings).is_empty() {
        fields.fault(findings, Code::IssuerMissing, "issuer", "neither issuer nor jwksUri is there");
    }
    let headers = fields.items("fromHeaders", MAX_LOCATIONS, findings);
    let outputs = fields.items("outputClaimToHeaders", MAX_LOCATIONS, findings);
    let output_payload_to_header = fields.text("outputPayloadToHeader", findings);
    if let Some(cursor) = fields.get("outputPayloadToHeader") {
        check_header(&cursor, &output_payload_to_header, findings);
    }
    JwtRule {
        issuer,
        audiences: names(&fields, "audiences", findings),
        keys: KeySource::read(&fields, findings),
        from_headers: headers.iter().map(|item| token_header(item, findings)).collect(),
        from_params: names(&fields, "fromParams", findings),
        from_cookies: names(&fields, "fromCookies", findings),
        output_payload_to_header,
        forward_original_token: fields.boolean("forwardOriginalToken", findings),
        output_claims: outputs.iter().map(|item| claim_output(item, findings)).collect(),
        timeout_millis: timeout(&fields, findings),
        space_delimited_claims: names(&fields, "spaceDelimitedClaims", findings),
    }
}

fn token_header(item: &Cursor<'_>, findings: &mut Findings) -> TokenHeader {
    let fields = item.fields(&["name", "prefix"], findings);
    let name = fields.text("name", findings);
    if name.is_empty() {
        fields.fault(findings, Code::EmptyText, "name", "the header has no name");
    }
    if let Some(cursor) = fields.get("name") {
        check_header(&cursor, &name, findings);
    }
    TokenHeader { name, prefix: fields.text("prefix", findings) }
}

fn claim_output(item: &Cursor<'_>, findings: &mut Findings) -> ClaimOutput {
    let fields = item.fields(&["header", "claim"], findings);
    let (header, claim) = (fields.text("header", findings), fields.text("claim", findings));
    if header.is_empty() || claim.is_empty() {
        fields.fault_of_all(findings, Code::OutputMissing, "the header or the claim is missing");
    }
    if let Some(cursor) = fields.get("header") {
        check_header(&cursor, &header, findings);
    }
    ClaimOutput { header, claim }
}

fn timeout(fields: &Fields<'_>, findings: &mut Findings) -> u64 {
    let text = fields.text("timeout", findings);
    if text.is_empty() {
        return TIMEOUT_MILLIS;
    }
    let millis = duration_millis(&text);
    if millis.is_none() {
        fields.fault(findings, Code::BadDuration, "timeout", format!("{} is no duration", quoted(&text)));
    }
    millis.unwrap_or(TIMEOUT_MILLIS)
}

/// A duration as ProtoJSON has it: seconds with up to nine decimals and `s`. At least a millisecond, at most a day.
fn duration_millis(text: &str) -> Option<u64> {
    let digits = |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if !digits(whole, 5) || !digits(fraction, 9) {
        return None;
    }
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    let millis = whole.parse::<u64>().ok()? * 1_000 + thousandths.parse::<u64>().ok()?;
    (1..=86_400_000).contains(&millis).then_some(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds() {
        for (text, millis) in
            [("5s", 5_000), ("0.5s", 500), ("1.25s", 1_250), ("0.001s", 1), ("86400s", 86_400_000), ("1.123456789s", 1_123)]
        {
            assert_eq!(duration_millis(text), Some(millis), "{text}");
        }
        for text in
            ["", "s", "5", "5m", "-5s", "0s", "0.0001s", ".5s", "5.s", "86401s", "1e3s", "5 s", "1.0000000000s", "999999s"]
        {
            assert_eq!(duration_millis(text), None, "{text}");
        }
    }
}
