//! A client of the SPIFFE Workload API as a process of its own: prints one JSON line for each answer of `FetchX509SVID`.
//!
//! `workload-fetch SOCKET SECONDS` ends after the seconds given, or with the stream, with exit code 0 whatever came.

use std::path::PathBuf;
use std::time::Duration;

use tests::{WorkloadClient, WorkloadSvid};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let socket = PathBuf::from(arguments.next().expect("the first argument is the socket"));
    let seconds = arguments.next().and_then(|text| text.parse().ok()).expect("the second argument is a number of seconds");
    let listen = async {
        let client = WorkloadClient::connect(&socket).await.expect("the socket answers");
        let mut stream = client.x509_svids().await.expect("the service answers");
        loop {
            match stream.next().await {
                Ok(svids) => print_line(&serde_json::json!({ "svids": svids.iter().map(line).collect::<Vec<_>>() })),
                Err(status) => {
                    let code = format!("{:?}", status.code());
                    return print_line(&serde_json::json!({ "code": code, "message": status.message() }));
                }
            }
        }
    };
    // Time over is the ordinary end.
    drop(tokio::time::timeout(Duration::from_secs(seconds), listen).await);
}

fn line(svid: &WorkloadSvid) -> serde_json::Value {
    serde_json::json!({ "id": svid.svid.id().to_string(), "serial": svid.svid.leaf().serial().to_string(), "hint": svid.hint })
}

#[expect(clippy::print_stdout, reason = "the lines are this program's result")]
fn print_line(line: &serde_json::Value) {
    println!("{line}");
}
