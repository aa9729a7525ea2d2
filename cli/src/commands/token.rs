//! `token ...`.

use std::net::SocketAddr;

use proto::v1::{CreateTokenRequest, CreateTokenResponse, JoinTokenRecord, ListTokensRequest, RevokeTokenRequest};
use serde_json::{Value, json};

use crate::admin_client::{ca_admin, request};
use crate::args::{CaSocketArgs, CreateTokenArgs, RevokeTokenArgs, TokenVerb};
use crate::failure::Failure;
use crate::output::{Answer, printable, time_json, time_text};
use crate::output_format::OutputFormat;

pub(super) async fn run(verb: TokenVerb, format: OutputFormat) -> Result<(), Failure> {
    match verb {
        TokenVerb::Create(args) => create(args).await,
        TokenVerb::List(args) => list(&args).await,
        TokenVerb::Revoke(args) => revoke(args).await,
    }?
    .print(format)
}

async fn list(args: &CaSocketArgs) -> Result<Answer, Failure> {
    let answer = ca_admin(&args.socket).await?.list_tokens(request(ListTokensRequest {})).await;
    let tokens = answer.map_err(|status| Failure::from_status("token list", &status))?.into_inner().tokens;
    let rows = tokens.iter().map(|token| {
        let until = time_text(token.expires_at.as_ref());
        vec![token.id.clone(), token.node.clone(), standing(token).to_owned(), until]
    });
    let json = tokens.iter().map(token_json).collect();
    Ok(Answer::table(&["id", "node", "standing", "until"], rows.collect(), "no open join tokens", json))
}

async fn revoke(args: RevokeTokenArgs) -> Result<Answer, Failure> {
    let RevokeTokenArgs { id, admin } = args;
    let answer = ca_admin(&admin.socket).await?.revoke_token(request(RevokeTokenRequest { id })).await;
    let revoked = answer.map_err(|status| Failure::from_status("token revoke", &status))?.into_inner().token;
    let token = revoked.unwrap_or_default();
    let (id, node) = (printable(&token.id), printable(&token.node));
    let head = format!("token {id} for node {node}: revoked, nobody redeems it any more");
    let joined = format!(
        " ! it was used before: whoever did is node {node} and stays; `signet node evict {node}` or `signet revoke --node {node}` takes it away"
    );
    let answer = Answer::text(head, token_json(&token));
    Ok(if token.used { answer.with_text(&joined) } else { answer })
}

/// The key that used one may come back by it until its end.
fn standing(token: &JoinTokenRecord) -> &'static str {
    if token.used { "used" } else { "open" }
}

fn token_json(token: &JoinTokenRecord) -> Value {
    let JoinTokenRecord { id, node, expires_at, used } = token;
    json!({ "id": id, "node": node, "used": used, "expires_at": time_json(expires_at.as_ref()) })
}

async fn create(args: CreateTokenArgs) -> Result<Answer, Failure> {
    let message = CreateTokenRequest {
        node: args.node.to_string(),
        ttl_seconds: args.ttl.map_or(0, |ttl| u32::try_from(ttl.as_secs()).expect("the argument's parser bounds it")),
    };
    let answer = ca_admin(&args.admin.socket).await?.create_token(request(message)).await;
    let token = answer.map_err(|status| Failure::from_status("token create", &status))?.into_inner();
    Ok(made(&token))
}

fn made(token: &CreateTokenResponse) -> Answer {
    let until = time_text(token.expires_at.as_ref());
    let command = command_line(token);
    let (id, node) = (printable(&token.id), &token.node);
    let text = format!("token {id} for node {node}, good once, until {until}; run on that node:\n\n{command}");
    let warning = warning(&token.ca_address);
    let json = json!({
        "id": token.id,
        "token": token.token,
        "node": token.node,
        "expires_at": time_json(token.expires_at.as_ref()),
        "ca_fingerprint": token.ca_fingerprint,
        "ca_address": token.ca_address,
        "trust_domain": token.trust_domain,
        "command": command,
        "warnings": warning.iter().collect::<Vec<_>>(),
    });
    Answer::text(text, json).with_text(&warning.map(|warning| format!(" ! {warning}")).unwrap_or_default())
}

/// An address to listen at is not always one to connect to.
fn warning(ca_address: &str) -> Option<String> {
    let unspecified = ca_address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified());
    unspecified.then(|| {
        format!("no node reaches {ca_address}: write the CA's own address there, and set `advertise` in the CA's configuration")
    })
}

/// The token goes by standard input: what stands in the arguments of a process, every user of the machine can read.
fn command_line(token: &CreateTokenResponse) -> String {
    format!(
        "printf %s {} | signet agent run --trust-domain {} --ca-address {} --ca-fingerprint {} \
         --state-dir /var/lib/signet/agent --join-token-file -",
        printable(&token.token),
        printable(&token.trust_domain),
        printable(&token.ca_address),
        printable(&token.ca_fingerprint),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn the_command_line_printed_is_one_that_the_program_takes() {
        let token = CreateTokenResponse {
            token: "00112233445566778899aabbccddeeff".into(),
            node: "n1".into(),
            expires_at: None,
            ca_fingerprint: "ab".repeat(32),
            ca_address: "ca.example.org:8443".into(),
            trust_domain: "example.org".into(),
            id: "ab".repeat(8),
        };
        let line = command_line(&token);
        let (giving, taking) = line.split_once(" | ").unwrap();
        assert_eq!(giving, "printf %s 00112233445566778899aabbccddeeff");
        assert!(!taking.contains(&token.token));
        Cli::try_parse_from(taking.split_whitespace()).unwrap();
    }

    #[test]
    fn an_address_that_no_node_reaches_is_called_so() {
        for (address, reachable) in
            [("0.0.0.0:8443", false), ("[::]:1", false), ("10.0.0.1:8443", true), ("ca.example.org:1", true)]
        {
            assert_eq!(warning(address).is_none(), reachable, "{address}");
        }
    }
}
