//! `svid fetch` and `svid watch`: identities of this very process.

use std::path::Path;

use pki::{Timestamp, certificates_to_pem};
use runtime::private_files::{Overwrite, write_private, write_public};
use serde_json::{Value, json};

use super::{certificate_json, distance, now};
use crate::args::{FetchJwtArgs, FetchX509Args, WatchArgs};
use crate::failure::Failure;
use crate::output::{Answer, or_dash, print_line};
use crate::output_format::OutputFormat;
use crate::workload_client::{FetchedX509Svid, WorkloadClient, next, read_x509};

pub(super) async fn x509(args: &FetchX509Args) -> Result<Answer, Failure> {
    let mut svids = WorkloadClient::connect(&args.workload).await?.fetch_x509().await?;
    if let Some(id) = &args.id {
        svids.retain(|svid| svid.id == *id);
        if svids.is_empty() {
            return Err(Failure::failed(format!("this process does not hold {id}"))
                .advise("the same line without `--id` shows what it holds; `signet entry explain --pid PID` says why"));
        }
    }
    let mut answer = table(&svids);
    if let Some(directory) = &args.write {
        let written = write(directory, &svids)?;
        answer = answer.with_text(&format!("written:\n  {}", written.join("\n  ")));
    }
    Ok(answer)
}

pub(super) async fn jwt(args: &FetchJwtArgs) -> Result<Answer, Failure> {
    let svids = WorkloadClient::connect(&args.workload).await?.fetch_jwt(&args.audiences, args.id.as_ref()).await?;
    let json = svids.iter().map(|svid| json!({ "id": svid.spiffe_id, "token": svid.svid, "hint": svid.hint })).collect();
    // Tokens alone, so that the line can be taken as it is.
    let tokens: Vec<_> = svids.iter().map(|svid| svid.svid.as_str()).collect();
    Ok(Answer::text(tokens.join("\n"), json))
}

/// A line, or a document on one line, for each state.
pub(super) async fn watch(args: &WatchArgs, format: OutputFormat) -> Result<(), Failure> {
    let mut client = WorkloadClient::connect(&args.workload).await?;
    let mut states = client.watch_x509().await?;
    loop {
        let svids = read_x509(next(&mut states).await?)?;
        match format {
            OutputFormat::Table => print_line(&line(&svids, now()))?,
            OutputFormat::Json | OutputFormat::Yaml => {
                print_line(&format.one_of_many(&json!({ "time": now().to_string(), "svids": svids_json(&svids) })))?;
            }
        }
    }
}

fn line(svids: &[FetchedX509Svid], now: Timestamp) -> String {
    let parts: Vec<_> = svids
        .iter()
        .map(|svid| {
            let leaf = svid.chain.first();
            let (serial, end) = leaf.map(|leaf| (leaf.serial().to_string(), distance(leaf.not_after(), now))).unwrap_or_default();
            format!("{} serial {serial}, until {end}", svid.id)
        })
        .collect();
    format!("{now} {}", parts.join("; "))
}

fn table(svids: &[FetchedX509Svid]) -> Answer {
    let now = now();
    let rows = svids.iter().map(|svid| {
        let leaf = svid.chain.first();
        let serial = leaf.map(|leaf| leaf.serial().to_string()).unwrap_or_default();
        let end = leaf.map(|leaf| distance(leaf.not_after(), now)).unwrap_or_default();
        vec![svid.id.to_string(), serial, end, svid.bundle.len().to_string(), or_dash(&svid.hint)]
    });
    Answer::table(&["spiffe id", "serial", "until", "authorities", "hint"], rows.collect(), "no identities", svids_json(svids))
}

fn svids_json(svids: &[FetchedX509Svid]) -> Value {
    let one = |svid: &FetchedX509Svid| {
        json!({
            "id": svid.id.to_string(),
            "hint": svid.hint,
            "chain": svid.chain.iter().map(certificate_json).collect::<Vec<_>>(),
            "bundle": svid.bundle.iter().map(certificate_json).collect::<Vec<_>>(),
        })
    };
    svids.iter().map(one).collect()
}

fn write(directory: &Path, svids: &[FetchedX509Svid]) -> Result<Vec<String>, Failure> {
    let cannot =
        |error: &dyn std::fmt::Display| Failure::failed(format!("cannot write to {}", directory.display())).because(error);
    std::fs::create_dir_all(directory).map_err(|error| cannot(&error))?;
    let mut written = Vec::new();
    for (index, svid) in svids.iter().enumerate() {
        let path = |name: &str| directory.join(format!("{name}.{index}.pem"));
        let (chain, key, bundle) = (path("svid"), path("key"), path("bundle"));
        write_private(&key, svid.key.to_pkcs8_pem().as_bytes(), Overwrite::Replace).map_err(|error| cannot(&error))?;
        write_public(&chain, certificates_to_pem(&svid.chain).as_bytes(), Overwrite::Replace).map_err(|error| cannot(&error))?;
        write_public(&bundle, certificates_to_pem(&svid.bundle).as_bytes(), Overwrite::Replace)
            .map_err(|error| cannot(&error))?;
        written.extend([chain, key, bundle].map(|path| path.display().to_string()));
    }
    Ok(written)
}
