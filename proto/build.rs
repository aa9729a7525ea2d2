//! Generates the code of Signet's own services. The compiler of the `.proto` files is a crate: no `protoc` to install.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let signet = [
        "types",
        "node",
        "admin",
        "authority_admin",
        "federation_admin",
        "kubernetes_admin",
        "agent_admin",
        "upstream",
        "backup",
    ]
    .map(|name| format!("proto/signet/v1/{name}.proto"));
    generate("signet.v1.bin", &signet)?;
    generate("spiffe.workload.bin", &["proto/spiffe/workload.proto".to_owned()])?;
    generate("istio.v1.auth.bin", &["istioca", "ca_service"].map(|name| format!("proto/istio/v1/auth/{name}.proto")))
}

/// Writes the code of these files and, for reflection, their descriptors.
#[expect(clippy::disallowed_methods, reason = "Cargo speaks to build scripts through the environment")]
fn generate(descriptor_set: &str, files: &[String]) -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join(descriptor_set), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .codec_path("crate::codec::Codec")
        .skip_debug(SECRET_MESSAGES)
        .extern_path(".google.rpc", "::envoy_types::pb::google::rpc")
        .compile_fds(descriptors)?;
    Ok(())
}

/// Messages that carry a key, a token or a credential: their `Debug` is written by hand and shows nothing.
const SECRET_MESSAGES: [&str; 10] = [
    "signet.v1.MakeBackupRequest",
    "signet.v1.AttestJoinTokenRequest",
    "signet.v1.AttestServiceAccountRequest",
    "signet.v1.CreateTokenResponse",
    "signet.v1.IssueJwtSvidResponse",
    "X509SVID",
    "JWTSVID",
    "ValidateJWTSVIDRequest",
    "WITSVID",
    "istio.v1.auth.CsrRequest",
];
