//! Signing a JWT-SVID that was prepared but not recorded.
use ca::jwt::issuance::{JwtIssuanceError, PreparedJwt, sign};
use pki::{JwtKey, JwtSvid};

async fn skips_the_ledger(prepared: PreparedJwt, key: &JwtKey) -> Result<JwtSvid, JwtIssuanceError> {
    sign(prepared, key).await
}

fn main() {}
