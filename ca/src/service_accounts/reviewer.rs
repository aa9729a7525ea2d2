//! Asks the API server about tokens: few at a time, not for long, and not twice in a moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kubernetes::{ApiError, KubernetesClient};
use runtime::clock::Clock;
use tokio::sync::Semaphore;

use super::account::{ReviewRefusal, ReviewedAccount};
use super::cache::{ReviewCache, ReviewKey};
use super::metrics::ReviewMetrics;

/// Questions at once. An API server answers each within milliseconds, so that hundreds of pods that start together wait for less than a
/// second; strangers with made-up tokens cost it no more than this.
const MAX_CONCURRENT: usize = 64;
/// The time for a turn and the answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// What is asked for, and in whose name it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReviewSettings {
    /// The name of the cluster, in records.
    pub(crate) cluster: String,
    /// One of them a token must be for. Not empty.
    pub(crate) audiences: Vec<String>,
}

/// Why a token proves nothing now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReviewError {
    /// The token is not good.
    #[error("the token is refused: {0}")]
    Refused(ReviewRefusal),
    /// The API server did not say.
    #[error("the token cannot be judged now: {cause}")]
    Unavailable {
        /// What is wrong.
        cause: ApiError,
    },
    /// Too many are being asked about.
    #[error("the token cannot be judged now: too many others are, and none of them was done within {DEADLINE:?}")]
    Busy,
}

/// Asks one API server. One for the process.
pub(crate) struct TokenReviewer {
    client: Arc<KubernetesClient>,
    settings: ReviewSettings,
    slots: Semaphore,
    held: Mutex<ReviewCache>,
    /// Why there was no answer to the last question; `None` when there was.
    fault: Mutex<Option<String>>,
    clock: Arc<dyn Clock>,
    metrics: ReviewMetrics,
}

impl ReviewError {
    /// For how long the API server wants to be left alone, when it says so.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        if let Self::Unavailable { cause } = self { cause.retry_after() } else { None }
    }
}

impl TokenReviewer {
    /// Asks nothing yet.
    pub(crate) fn new(
        client: Arc<KubernetesClient>,
        settings: ReviewSettings,
        clock: Arc<dyn Clock>,
        metrics: ReviewMetrics,
    ) -> Self {
        let slots = Semaphore::new(MAX_CONCURRENT);
        Self { client, settings, slots, held: Mutex::default(), fault: Mutex::default(), clock, metrics }
    }

    /// Whom the token stands for, now or three seconds ago.
    ///
    /// # Errors
    /// [`ReviewError`]; its text is for the log and holds nothing of the token.
    pub(crate) async fn review(&self, token: &str) -> Result<ReviewedAccount, ReviewError> {
        let ReviewSettings { cluster, audiences } = &self.settings;
        let key = ReviewKey::new(token, cluster, audiences);
        if let Some(account) = locked(&self.held).get(key, self.clock.boottime()) {
            self.metrics.remembered();
            return Ok(account);
        }
        let outcome = self.ask(token, key).await;
        self.metrics.reviewed(&outcome);
        outcome
    }

    async fn ask(&self, token: &str, key: ReviewKey) -> Result<ReviewedAccount, ReviewError> {
        ReviewedAccount::may_be_token(token).map_err(ReviewError::Refused)?;
        let ReviewSettings { cluster, audiences } = &self.settings;
        let came = self.clock.boottime();
        let turn = tokio::time::timeout(DEADLINE, self.slots.acquire()).await;
        let _turn = turn.ok().and_then(Result::ok).ok_or(ReviewError::Busy)?;
        let asked = self.clock.boottime();
        let left = DEADLINE.saturating_sub(asked.saturating_sub(came));
        let review = self.client.review_token(token, audiences, left).await;
        self.tell(review.as_ref().err());
        let review = review.map_err(|cause| ReviewError::Unavailable { cause })?;
        let account = ReviewedAccount::of(review, cluster, audiences).map_err(ReviewError::Refused)?;
        locked(&self.held).put(key, account.clone(), asked, self.clock.boottime());
        Ok(account)
    }

    /// What an operator should know.
    pub(crate) fn warning(&self) -> Option<String> {
        let fault = locked(&self.fault).clone()?;
        let cluster = &self.settings.cluster;
        Some(format!("tokens of the service accounts of {cluster} cannot be judged: {fault}"))
    }

    /// Says so once when it begins, and once when it is over.
    fn tell(&self, fault: Option<&ApiError>) {
        let fault = fault.map(ToString::to_string);
        let before = std::mem::replace(&mut *locked(&self.fault), fault.clone());
        let cluster = &self.settings.cluster;
        match (before, fault) {
            (None, Some(fault)) => tracing::error!(cluster, fault, "the API server does not review tokens"),
            (Some(_), None) => tracing::info!(cluster, "the API server reviews tokens again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use identity::TrustDomain;
    use kubernetes::{ClusterConfig, KubernetesMetrics};
    use pki::{
        AuthorityRole, AuthoritySpec, KeyAlgorithm, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES, SerialNumber, Timestamp,
        certificates_to_pem, prepare_authority,
    };
    use runtime::clock::SystemClock;
    use tempfile::TempDir;

    use super::*;

    /// In front of a server that takes connections and says nothing.
    struct Bench {
        reviewer: TokenReviewer,
        _server: TcpListener,
        _home: TempDir,
    }

    fn root() -> String {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let spec = AuthoritySpec {
            role: AuthorityRole::Root,
            trust_domain: &TrustDomain::parse("cluster.example").unwrap(),
            public_key: key.public_key(),
            lifetime: Duration::from_secs(86_400),
            serial: SerialNumber::new(ReplicaByte::new(1).unwrap(), [1; SERIAL_RANDOM_BYTES]),
            now: Timestamp::from(SystemClock::shared().now()),
        };
        certificates_to_pem([&prepare_authority(&spec, None).unwrap().sign(&key).unwrap()])
    }

    impl Bench {
        fn new() -> Self {
            let (home, server) = (tempfile::tempdir().unwrap(), TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
            let file = |name: &str, content: &str| {
                let path = home.path().join(name);
                std::fs::write(&path, content).unwrap();
                path
            };
            let config = ClusterConfig {
                api_server: format!("https://{}", server.local_addr().unwrap()).parse().unwrap(),
                roots: file("roots.pem", &root()),
                token_file: file("token", "own-token"),
            };
            let client = KubernetesClient::new(config, SystemClock::shared(), KubernetesMetrics::default());
            let settings = ReviewSettings { cluster: "c".to_owned(), audiences: vec!["istio-ca".to_owned()] };
            let reviewer = TokenReviewer::new(Arc::new(client), settings, SystemClock::shared(), ReviewMetrics::default());
            Self { reviewer, _server: server, _home: home }
        }
    }

    #[tokio::test]
    async fn sixty_four_questions_are_open_at_once_and_what_comes_beside_them_waits() {
        let Bench { reviewer, .. } = &Bench::new();
        let tokens: Vec<_> = (0..100).map(|number| format!("a.{number}.c")).collect();
        let (inside, outside) = tokens.split_at(64);
        let mut open = std::pin::pin!(join_all(inside.iter().map(|token| reviewer.review(token))));
        // As often as it takes for each to have come to its question.
        for _ in 0..100 {
            assert!(open.as_mut().now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        assert_eq!(reviewer.slots.available_permits(), 0);
        let mut others = std::pin::pin!(join_all(outside.iter().map(|token| reviewer.review(token))));
        for _ in 0..100 {
            assert!(others.as_mut().now_or_never().is_none());
        }
    }

    /// Time stands still but for what is waited for: the first opens the connection for 3 s, the second waits for it and goes on.
    #[tokio::test(start_paused = true)]
    async fn no_token_is_waited_for_beyond_the_deadline_for_its_turn_and_the_answer() {
        let Bench { reviewer, .. } = &Bench::new();
        let limit = DEADLINE + Duration::from_millis(500);
        let both = async { tokio::join!(reviewer.review("a.1.c"), reviewer.review("a.2.c")) };
        let (first, second) = tokio::time::timeout(limit, both).await.expect("both within the deadline");
        for outcome in [first, second] {
            assert!(matches!(outcome, Err(ReviewError::Unavailable { .. })), "{outcome:?}");
        }
        // For a turn that nobody gives up, too.
        let _taken = reviewer.slots.acquire_many(64).await.unwrap();
        let outcome = tokio::time::timeout(limit, reviewer.review("a.3.c")).await.expect("within the deadline");
        assert!(matches!(outcome, Err(ReviewError::Busy)), "{outcome:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_judged_is_asked_about_again() {
        let Bench { reviewer, .. } = &Bench::new();
        {
            let _taken = reviewer.slots.acquire_many(64).await.unwrap();
            assert!(matches!(reviewer.review("a.b.c").await, Err(ReviewError::Busy)));
        }
        let outcome = reviewer.review("a.b.c").await;
        assert!(matches!(outcome, Err(ReviewError::Unavailable { .. })), "{outcome:?}");
    }
}
