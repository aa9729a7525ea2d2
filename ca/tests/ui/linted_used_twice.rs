//! Recording one certificate twice, to sign it twice.
use ca::issuance::{Ledger, Linted};

async fn records_twice(ledger: &dyn Ledger, linted: Linted) {
    let first = ledger.record(linted).await;
    let second = ledger.record(linted).await;
    drop((first, second));
}

fn main() {}
