//! Identities by a token that a stream of SDS brought: a key and a CSR made here, a certificate from the CA in the token's name.
//!
//! Off unless an operator turned it on. One driver per stream's token and connection: nothing is kept for the next one, and what the
//! caller is by its own process has no part in it. The token is held in memory that is wiped, goes to the CA alone, and is not read
//! here: whose it is, and until when it counts, is the CA's judgement, asked anew at half of the certificate's life.

mod admission;
mod driver;
mod in_use;

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use identity::TrustDomain;
use runtime::clock::Clock;
use runtime::entropy::Entropy;
use runtime::shutdown::Shutdown;
use sds::{BearerRefusal, BearerToken, SecretState};
use tokio::sync::{mpsc, watch};

use crate::ca_client::NodeViews;
use crate::ca_client::istio::IstioCa;
use crate::metrics::AgentMetrics;
use crate::workload::Caller;
use admission::Admission;
use driver::Driver;
pub(crate) use in_use::InUse;

/// What drivers work with.
#[derive(Clone)]
struct Tools {
    ca: IstioCa,
    trust_domain: TrustDomain,
    /// The newest trust bundle of the node, which may be newer than the one of the last answer.
    views: NodeViews,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    metrics: AgentMetrics,
    in_use: InUse,
}

/// Takes tokens.
pub(crate) struct BearerIdentities {
    tools: Tools,
    admission: Arc<Mutex<Admission>>,
    drivers: mpsc::UnboundedSender<Driver>,
}

/// Runs the drivers.
pub(crate) struct BearerWorker {
    drivers: mpsc::UnboundedReceiver<Driver>,
}

impl BearerIdentities {
    pub(crate) fn new(
        ca: IstioCa,
        trust_domain: TrustDomain,
        views: NodeViews,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: AgentMetrics,
    ) -> (Self, BearerWorker) {
        let (drivers, receiver) = mpsc::unbounded_channel();
        let tools = Tools { ca, trust_domain, views, clock, entropy, metrics, in_use: InUse::default() };
        (Self { tools, admission: Arc::default(), drivers }, BearerWorker { drivers: receiver })
    }

    /// What is held for tokens.
    pub(crate) fn in_use(&self) -> InUse {
        self.tools.in_use.clone()
    }

    /// The state of whoever `token` stands for. Nobody else is given it, and it ends with its receivers.
    ///
    /// # Errors
    /// [`BearerRefusal::TooMany`] when the caller's user has too many, or brings them too fast.
    pub(crate) fn subscribe(
        &self,
        caller: &Caller,
        token: BearerToken,
    ) -> Result<watch::Receiver<Arc<SecretState>>, BearerRefusal> {
        let boot = self.tools.clock.boottime();
        let mut admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner);
        let place = admission.take(caller.uid, boot).ok_or(BearerRefusal::TooMany)?;
        drop(admission);
        let (state, receiver) = watch::channel(Arc::default());
        let in_use = self.tools.in_use.place();
        let driver = Driver { tools: self.tools.clone(), token, state, in_use, _place: place };
        // The worker is gone only when the agent ends: then the streams end too.
        self.drivers.send(driver).map_err(|_ended| BearerRefusal::TooMany)?;
        Ok(receiver)
    }
}

impl BearerWorker {
    /// Works until the end.
    ///
    /// # Errors
    /// None; the type is what tasks have.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), std::convert::Infallible> {
        let mut running: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        loop {
            // Any order is fine: each driver is on its own.
            tokio::select! {
                () = shutdown.fired() => return Ok(()),
                Some(driver) = self.drivers.recv() => running.push(Box::pin(driver.run())),
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
