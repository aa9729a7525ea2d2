//! What must not compile: the order of the issuance script is in its types.

use ca::issuance::{IssuanceError, Ledger, Linted, Verification, sign};
use pki::{Certificate, PrivateKey};

#[test]
fn the_script_cannot_be_taken_out_of_order() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

#[expect(dead_code, reason = "the passing twin: that it compiles is the test")]
async fn in_order(ledger: &dyn Ledger, linted: Linted, key: &PrivateKey) -> Result<Certificate, IssuanceError> {
    let recorded = ledger.record(linted).await?;
    sign(recorded, key, Verification::Always).await
}
