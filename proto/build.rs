//! Generates the code of Signet's own services. The compiler of the `.proto` files is a crate: no `protoc` to install.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

#[expect(clippy::disallowed_methods, reason = "Cargo speaks to build scripts through the environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = ["types", "node", "admin", "agent_admin"].map(|name| format!("proto/signet/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("signet.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .skip_debug(["signet.v1.AttestJoinTokenRequest", "signet.v1.CreateTokenResponse"])
        .compile_fds(descriptors)?;
    Ok(())
}
