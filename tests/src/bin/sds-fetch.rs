//! A client of SDS as a process of its own: asks for names, acknowledges, and prints one JSON line for each answer.
//!
//! `sds-fetch SOCKET SECONDS NAME...` ends after the seconds given, with exit code 0 whatever came. A connection that ends is made anew,
//! as every client of SDS does: the agent ends those that are to be attested again.

use std::path::PathBuf;
use std::time::Duration;

use tests::{SdsClient, SdsSecret};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let socket = PathBuf::from(arguments.next().expect("the first argument is the socket"));
    let seconds = arguments.next().and_then(|text| text.parse().ok()).expect("the second argument is a number of seconds");
    let names: Vec<String> = arguments.collect();
    let listen = async {
        let mut client = SdsClient::connect(&socket).await.expect("the socket answers");
        loop {
            print_answers(&mut client, &names).await;
            tokio::time::sleep(PAUSE).await;
            if let Ok(again) = SdsClient::connect(&socket).await {
                client = again;
            }
        }
    };
    // Time over is the ordinary end.
    drop(tokio::time::timeout(Duration::from_secs(seconds), listen).await);
}

async fn print_answers(client: &mut SdsClient, names: &[String]) {
    let Ok(mut stream) = client.subscribe(names).await else { return };
    while let Ok(response) = stream.next().await {
        let secrets: Vec<_> = response.secrets.iter().map(line).collect();
        print_line(&serde_json::json!({ "version": response.version, "secrets": secrets }));
        stream.acknowledge(&response).await;
    }
}

/// Between two connections.
const PAUSE: Duration = Duration::from_millis(100);

fn line(secret: &SdsSecret) -> serde_json::Value {
    let SdsSecret { name, chain_pem, key_pem, validation } = secret;
    let key = key_pem.as_ref().map(|pem| pki::PrivateKey::from_pem(pem.as_bytes()).expect("the key is PEM"));
    let leaf = chain_pem.as_ref().map(|pem| pki::certificates_from_pem(pem.as_bytes()).expect("the chain is PEM").remove(0));
    serde_json::json!({
        "name": name,
        "id": leaf.as_ref().and_then(|leaf| leaf.uri_sans().first().cloned()),
        "serial": leaf.as_ref().map(|leaf| leaf.serial().to_string()),
        "has_key": key.is_some(),
        "validates": validation,
    })
}

#[expect(clippy::print_stdout, reason = "the lines are this program's result")]
fn print_line(line: &serde_json::Value) {
    println!("{line}");
}
