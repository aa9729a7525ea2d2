//! Looks after the token in which keys lie, and says whether it is there. Calls that sign wait for it, this does not.

use std::time::Duration;

use pkcs11::Token;
use runtime::clock::Ticker;
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;

/// How often it is looked for: each look is a few calls, and opens it anew where it is back.
const PERIOD: Duration = Duration::from_secs(5);

/// The token in which keys lie holds them and answers.
pub(crate) const KEYS: &str = "keys";

/// Looks until the end.
///
/// # Errors
/// The kernel gives no timer.
pub(crate) async fn watch(token: Token, readiness: Readiness, shutdown: Shutdown) -> Result<(), std::io::Error> {
    let mut ticker = Ticker::new(PERIOD)?;
    loop {
        match token.probe().await {
            Ok(()) => readiness.met(KEYS),
            Err(error) => readiness.unmet(KEYS, &error.to_string()),
        }
        tokio::select! {
            // Whichever comes first: a look changes nothing that would have to be finished.
            () = shutdown.fired() => return Ok(()),
            ticked = ticker.tick() => { ticked?; }
        }
    }
}
