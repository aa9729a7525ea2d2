//! Who signs JWT-SVIDs, as told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pki::{AudienceSet, JwtSvid, Timestamp};
use runtime::clock::{Clock, TestClock};
use tokio::sync::Semaphore;

use super::FakeAuthority;
use crate::ca_client::{CallFault, JwtIssuer, RefusalReason};
use crate::entry::Entry;

/// Issues tokens of five minutes for the identity `/<entry>`.
pub(crate) struct FakeJwtIssuer {
    pub(crate) authority: FakeAuthority,
    pub(crate) clock: Arc<TestClock>,
    /// What is answered instead.
    pub(crate) fault: Mutex<Option<CallFault>>,
    /// Entries and audiences asked for.
    pub(crate) asked: Mutex<Vec<(String, String)>>,
    /// Each answer takes one; a test that adds none has a CA that never answers.
    pub(crate) permits: Arc<Semaphore>,
}

impl FakeJwtIssuer {
    pub(crate) fn new(permits: usize) -> Arc<Self> {
        let clock = TestClock::at(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        Arc::new(Self {
            authority: FakeAuthority::new(Timestamp::from(clock.now())),
            clock,
            fault: Mutex::default(),
            asked: Mutex::default(),
            permits: Arc::new(Semaphore::new(permits)),
        })
    }

    pub(crate) fn away(&self) {
        *self.fault.lock().unwrap() = Some(CallFault::Unavailable("away".to_owned()));
    }

    pub(crate) fn refuses(&self) {
        let (reason, reason_text) = (RefusalReason::EntryNotFound, "ENTRY_NOT_FOUND".to_owned());
        *self.fault.lock().unwrap() = Some(CallFault::Refused { reason, reason_text, message: "no such entry".to_owned() });
    }

    pub(crate) fn sound(&self) {
        *self.fault.lock().unwrap() = None;
    }

    pub(crate) fn calls(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// What the agent takes as its issuer.
pub(crate) struct SharedJwtIssuer(pub(crate) Arc<FakeJwtIssuer>);

impl JwtIssuer for SharedJwtIssuer {
    fn issue_jwt(&self, entry: Arc<Entry>, audiences: AudienceSet) -> BoxFuture<'static, Result<JwtSvid, CallFault>> {
        let this = Arc::clone(&self.0);
        async move {
            this.asked.lock().unwrap().push((entry.id.to_string(), audiences.to_string()));
            this.permits.acquire().await.unwrap().forget();
            if let Some(fault) = this.fault.lock().unwrap().clone() {
                return Err(fault);
            }
            let id = this.authority.id(&format!("/{}", entry.id));
            Ok(this.authority.jwt_svid(&id, &audiences, Duration::from_secs(300), this.clock.now().into()))
        }
        .boxed()
    }
}
