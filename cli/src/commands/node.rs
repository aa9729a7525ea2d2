//! `node ...`.

use proto::v1::node_record::State;
use proto::v1::{BanNodeRequest, EvictNodeRequest, ListNodesRequest, NodeRecord, UnbanNodeRequest};
use serde_json::{Value, json};

use super::node_alias;
use crate::admin_client::{ca_admin, request};
use crate::args::{CaSocketArgs, NodeArgs, NodeVerb};
use crate::failure::Failure;
use crate::output::{Answer, or_dash, time_json, time_text};
use crate::output_format::OutputFormat;

pub(super) async fn run(verb: NodeVerb, format: OutputFormat) -> Result<(), Failure> {
    match verb {
        NodeVerb::List(args) => list(&args).await,
        NodeVerb::Evict(args) => evict(&args).await,
        NodeVerb::Ban(args) => ban(&args).await,
        NodeVerb::Unban(args) => unban(&args).await,
        NodeVerb::Alias(verb) => node_alias::run(verb).await,
    }?
    .print(format)
}

async fn list(args: &CaSocketArgs) -> Result<Answer, Failure> {
    let answer = ca_admin(&args.socket).await?.list_nodes(request(ListNodesRequest {})).await;
    let nodes = answer.map_err(|status| Failure::from_status("node list", &status))?.into_inner().nodes;
    let rows = nodes.iter().map(row).collect();
    let json = nodes.iter().map(node_json).collect();
    let columns = ["node", "state", "connected", "bundle", "svid expires", "attested", "serial"];
    Ok(Answer::table(&columns, rows, "no nodes", json))
}

async fn evict(args: &NodeArgs) -> Result<Answer, Failure> {
    let message = EvictNodeRequest { node: args.node.to_string() };
    let answer = ca_admin(&args.admin.socket).await?.evict_node(request(message)).await;
    answer.map_err(|status| Failure::from_status("node evict", &status))?;
    Ok(done(args, "evicted; a new token (`signet token create`) brings it back"))
}

async fn ban(args: &NodeArgs) -> Result<Answer, Failure> {
    let message = BanNodeRequest { node: args.node.to_string() };
    let answer = ca_admin(&args.admin.socket).await?.ban_node(request(message)).await;
    answer.map_err(|status| Failure::from_status("node ban", &status))?;
    Ok(done(args, "banned, name and key, until `signet node unban`"))
}

async fn unban(args: &NodeArgs) -> Result<Answer, Failure> {
    let message = UnbanNodeRequest { node: args.node.to_string() };
    let answer = ca_admin(&args.admin.socket).await?.unban_node(request(message)).await;
    answer.map_err(|status| Failure::from_status("node unban", &status))?;
    Ok(done(args, "no longer banned"))
}

fn done(args: &NodeArgs, what: &str) -> Answer {
    Answer::text(format!("node {}: {what}", args.node), json!({ "node": args.node.to_string(), "done": what }))
}

fn state(node: &NodeRecord) -> &'static str {
    match node.state() {
        State::Attested => "attested",
        State::Banned => "banned",
        State::Unspecified => "unknown",
    }
}

fn row(node: &NodeRecord) -> Vec<String> {
    vec![
        node.node.clone(),
        state(node).to_owned(),
        if node.connected { "yes" } else { "no" }.to_owned(),
        node.bundle_sequence.to_string(),
        time_text(node.svid_expires_at.as_ref()),
        time_text(node.attested_at.as_ref()),
        or_dash(&node.serial),
    ]
}

fn node_json(node: &NodeRecord) -> Value {
    json!({
        "node": node.node,
        "spiffe_id": node.spiffe_id,
        "state": state(node),
        "serial": node.serial,
        "svid_expires_at": time_json(node.svid_expires_at.as_ref()),
        "attested_at": time_json(node.attested_at.as_ref()),
        "connected": node.connected,
        "bundle_sequence": node.bundle_sequence,
    })
}
