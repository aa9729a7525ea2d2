//! `node alias ...`.

use identity::{AliasName, NodeName};
use proto::v1::{ChangeNodeAliasRequest, CreateNodeAliasRequest, DeleteNodeAliasRequest, ListNodeAliasesRequest, NodeAlias};
use serde_json::{Value, json};

use crate::admin_client::{ca_admin, request};
use crate::args::{AliasDeleteArgs, AliasMembersArgs, AliasNodesArgs, AliasVerb, CaSocketArgs};
use crate::failure::Failure;
use crate::output::{Answer, facts_text, or_dash, time_json, time_text};

pub(super) async fn run(verb: AliasVerb) -> Result<Answer, Failure> {
    match verb {
        AliasVerb::Create(args) => create(&args).await,
        AliasVerb::Add(args) => change(&args.alias, &args.nodes, &[], &args, "node alias add").await,
        AliasVerb::Remove(args) => change(&args.alias, &[], &args.nodes, &args, "node alias remove").await,
        AliasVerb::List(args) => list(&args).await,
        AliasVerb::Delete(args) => delete(&args).await,
    }
}

async fn create(args: &AliasNodesArgs) -> Result<Answer, Failure> {
    let message = CreateNodeAliasRequest { name: args.alias.to_string(), nodes: names(&args.nodes) };
    let answer = ca_admin(&args.admin.socket).await?.create_node_alias(request(message)).await;
    answer.map(|alias| one(alias.get_ref())).map_err(|status| Failure::from_status("node alias create", &status))
}

async fn change(
    alias: &AliasName,
    add: &[NodeName],
    remove: &[NodeName],
    args: &AliasMembersArgs,
    doing: &str,
) -> Result<Answer, Failure> {
    let message = ChangeNodeAliasRequest { name: alias.to_string(), add: names(add), remove: names(remove) };
    let answer = ca_admin(&args.admin.socket).await?.change_node_alias(request(message)).await;
    answer.map(|alias| one(alias.get_ref())).map_err(|status| Failure::from_status(doing, &status))
}

async fn list(args: &CaSocketArgs) -> Result<Answer, Failure> {
    let answer = ca_admin(&args.socket).await?.list_node_aliases(request(ListNodeAliasesRequest {})).await;
    let aliases = answer.map_err(|status| Failure::from_status("node alias list", &status))?.into_inner().aliases;
    let row = |alias: &NodeAlias| {
        let created = time_text(alias.created_at.as_ref());
        vec![alias.name.clone(), or_dash(&alias.nodes.join("\n")), alias.entries.to_string(), created]
    };
    let json = aliases.iter().map(alias_json).collect();
    Ok(Answer::table(&["alias", "nodes", "entries", "created"], aliases.iter().map(row).collect(), "no node aliases", json))
}

async fn delete(args: &AliasDeleteArgs) -> Result<Answer, Failure> {
    let message = DeleteNodeAliasRequest { name: args.alias.to_string(), with_entries: args.with_entries };
    let answer = ca_admin(&args.admin.socket).await?.delete_node_alias(request(message)).await;
    let deleted = answer.map_err(|status| Failure::from_status("node alias delete", &status))?.into_inner().entries_deleted;
    let ids: Vec<_> = deleted.iter().map(|entry| entry.id.as_str()).collect();
    let text = format!("node alias {} deleted, {} entries with it", args.alias, ids.len());
    Ok(Answer::text(text, json!({ "deleted": args.alias.to_string(), "entries_deleted": ids })))
}

fn one(alias: &NodeAlias) -> Answer {
    let facts = [
        ("alias", alias.name.clone()),
        ("nodes", or_dash(&alias.nodes.join("\n"))),
        ("entries", alias.entries.to_string()),
        ("created", time_text(alias.created_at.as_ref())),
    ];
    Answer::text(facts_text(facts), alias_json(alias))
}

fn alias_json(alias: &NodeAlias) -> Value {
    json!({
        "alias": alias.name,
        "nodes": alias.nodes,
        "entries": alias.entries,
        "created_at": time_json(alias.created_at.as_ref()),
    })
}

fn names(nodes: &[NodeName]) -> Vec<String> {
    nodes.iter().map(ToString::to_string).collect()
}
