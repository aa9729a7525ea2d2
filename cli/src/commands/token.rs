//! `token create`.

use std::net::SocketAddr;

use proto::v1::{CreateTokenRequest, CreateTokenResponse};
use serde_json::json;

use crate::admin_client::{ca_admin, request};
use crate::args::{CreateTokenArgs, TokenVerb};
use crate::failure::Failure;
use crate::output::{Answer, printable, time_json, time_text};
use crate::output_format::OutputFormat;

pub(super) async fn run(verb: TokenVerb, format: OutputFormat) -> Result<(), Failure> {
    match verb {
        TokenVerb::Create(args) => create(args).await?.print(format),
    }
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
    let text = format!("token for node {}, good once, until {until}; run on that node:\n\n{command}", token.node);
    let warning = warning(&token.ca_address);
    let json = json!({
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
