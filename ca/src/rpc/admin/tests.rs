use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

use futures_util::StreamExt;
use identity::{ReplicaName, TrustDomain};
use pki::{AuthorityRole, AuthoritySpec, KeyAlgorithm, PrivateKey, SerialNumber, TrustBundle};
use proto::v1::admin_server::Admin;
use runtime::clock::TestClock;
use runtime::shutdown::{self, ShutdownTrigger};
use tonic::Code;
use tonic::transport::server::Connected;
use tonic_types::StatusExt;

use super::*;
use crate::records::SvidGrounds;
use crate::rpc::admin_sources::{CertificateFacts, CertificateRole, NodeConnection};
use crate::store::{RedeemError, SqliteStore, StoreError};

/// Sixteen bytes of one number, another number each time.
struct Counting(AtomicU8);

impl Entropy for Counting {
    fn fill(&self, dest: &mut [u8]) {
        dest.fill(self.0.fetch_add(1, Ordering::Relaxed));
    }
}

struct OneConnected(NodeName);

impl Fleet for OneConnected {
    fn connection(&self, node: &NodeName) -> Option<NodeConnection> {
        (*node == self.0).then_some(NodeConnection { bundle_sequence: 4, progress: None })
    }
}

struct Healthy;

impl StatusSource for Healthy {
    fn status(&self) -> CaStatus {
        CaStatus {
            replica: ReplicaName::parse("ca-1").unwrap(),
            build: "1.2.3".to_owned(),
            failing: vec![],
            warnings: vec!["the issuer is past its half life".to_owned()],
            certificates: vec![CertificateFacts {
                role: CertificateRole::Root,
                subject: "CN=root".to_owned(),
                serial: SerialNumber::from_bytes(&[1, 2]).unwrap(),
                not_before: Timestamp::from_unix_seconds(1),
                not_after: Timestamp::from_unix_seconds(2),
            }],
            bundle_sequence: 4,
            root_fingerprint: [0xcd; 32],
            connected: 1,
            address: "ca.example.org:8443".to_owned(),
            jwt_key_id: "kid-1".parse().unwrap(),
            audit_key: [0xab; 32],
            audit_checkpoint: None,
        }
    }

    fn bundle(&self) -> Arc<TrustBundle> {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let spec = AuthoritySpec {
            role: AuthorityRole::Root,
            trust_domain: &trust_domain,
            public_key: key.public_key(),
            lifetime: Duration::from_secs(3600),
            serial: SerialNumber::from_bytes(&[1, 2]).unwrap(),
            now: Timestamp::from_unix_seconds(1_000),
        };
        let root = pki::prepare_authority(&spec, None).unwrap().sign(&key).unwrap();
        Arc::new(TrustBundle::new(trust_domain, vec![root], 4).unwrap())
    }

    fn acknowledge_fork(&self, _: Actor, _: Timestamp) -> futures_util::future::BoxFuture<'_, Result<u32, StoreError>> {
        Box::pin(async { Ok(0) })
    }
}

struct Fixture {
    service: AdminService,
    store: Arc<SqliteStore>,
    clock: Arc<TestClock>,
    stop: ShutdownTrigger,
    directory: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&directory.path().join("store.db")).unwrap());
    let clock = TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
    let (stop, shutdown) = shutdown::channel();
    let service = AdminService {
        store: Arc::<SqliteStore>::clone(&store),
        fleet: Arc::new(OneConnected(NodeName::parse("n1").unwrap())),
        status: Arc::new(Healthy),
        clock: Arc::<TestClock>::clone(&clock),
        entropy: Arc::new(Counting(AtomicU8::new(0xa0))),
        limits: EntryLimits { trust_domain: "example.org".parse().unwrap(), max_ttl: Duration::from_secs(3600) },
        token_ttl: Duration::from_secs(600),
        followed_cluster: Some("east".to_owned()),
        lists: watch::channel(Arc::new(Published::nothing(&Healthy.bundle()))).1,
        shutdown,
    };
    Fixture { service, store, clock, stop, directory }
}

/// A request as it comes from a process of this user.
fn from_us<T>(message: T) -> Request<T> {
    let (stream, _other) = tokio::net::UnixStream::pair().unwrap();
    let mut request = Request::new(message);
    request.extensions_mut().insert(stream.connect_info());
    request
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| format!("{}/{}", info.domain, info.reason)).unwrap_or_default()
}

fn entry_request() -> v1::CreateEntryRequest {
    v1::CreateEntryRequest {
        spiffe_id: "spiffe://example.org/web".to_owned(),
        selectors: vec!["unix:uid:1000".to_owned()],
        parent_node: "n1".to_owned(),
        ttl_seconds: 60,
        ..v1::CreateEntryRequest::default()
    }
}

fn token_request(ttl_seconds: u32) -> v1::CreateTokenRequest {
    v1::CreateTokenRequest { node: "n1".to_owned(), ttl_seconds }
}

fn tail_request(lines: u32, follow: bool) -> v1::TailAuditRequest {
    v1::TailAuditRequest { lines, follow }
}

#[tokio::test]
async fn an_entry_is_made_shown_listed_and_deleted() {
    let Fixture { service, directory: _directory, .. } = fixture();
    let made = service.create_entry(from_us(entry_request())).await.unwrap().into_inner();
    assert_eq!((made.id.as_str(), made.ttl_seconds), ("a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0", 60));
    assert_eq!(made.created_at.unwrap().seconds, 1_000);
    let list = async |node: &str| {
        let request = from_us(v1::ListEntriesRequest { parent_node: node.to_owned(), parent_alias: String::new() });
        let pages = service.list_entries(request).await.unwrap().into_inner();
        pages.map(|page| page.unwrap().entries).concat().await
    };
    assert_eq!(list("").await, std::slice::from_ref(&made));
    assert_eq!(list("n1").await, std::slice::from_ref(&made));
    assert!(list("n2").await.is_empty());
    let shown = service.get_entry(from_us(v1::GetEntryRequest { id: made.id.clone() })).await.unwrap().into_inner();
    assert_eq!(shown, made);
    service.delete_entry(from_us(v1::DeleteEntryRequest { id: made.id.clone(), ..Default::default() })).await.unwrap();
    let gone = service.get_entry(from_us(v1::GetEntryRequest { id: made.id })).await.unwrap_err();
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::NotFound, "signet/ENTRY_NOT_FOUND"));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_by_code_reason_and_text() {
    let Fixture { service, directory: _directory, .. } = fixture();
    let long = v1::CreateEntryRequest { ttl_seconds: 3601, ..entry_request() };
    let status = service.create_entry(from_us(long)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "signet/TTL_ABOVE_MAX"));
    assert!(status.message().contains("3601 s is above the maximum of 3600 s"), "{}", status.message());

    let reserved = v1::CreateEntryRequest { spiffe_id: "spiffe://example.org/signet/ca/x".to_owned(), ..entry_request() };
    let status = service.create_entry(from_us(reserved)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "signet/ENTRY_INVALID"));

    service.create_entry(from_us(entry_request())).await.unwrap();
    let status = service.create_entry(from_us(entry_request())).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::AlreadyExists, "signet/ALREADY_EXISTS"));

    let status = service.get_entry(from_us(v1::GetEntryRequest { id: "../x".to_owned() })).await.unwrap_err();
    assert_eq!(reason(&status), "signet/ENTRY_ID_INVALID");
    let status = service.evict_node(from_us(v1::EvictNodeRequest { node: "a/b".to_owned() })).await.unwrap_err();
    assert_eq!(reason(&status), "signet/NODE_NAME_INVALID");
    let status = service.evict_node(from_us(v1::EvictNodeRequest { node: "n9".to_owned() })).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "signet/NODE_NOT_FOUND"));
}

#[test]
fn what_the_database_said_does_not_leave() {
    let status = Status::from(AdminError::Store(StoreError::Unavailable("disk I/O error in /var/x".to_owned())));
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "signet/STORE_UNAVAILABLE"));
    assert!(!status.message().contains("/var/x"), "{}", status.message());
}

#[tokio::test]
async fn a_token_works_once_told_is_bound_in_time_and_is_nowhere_in_the_state() {
    let Fixture { service, store, clock, directory, .. } = fixture();
    let made = service.create_token(from_us(token_request(0))).await.unwrap().into_inner();
    assert_eq!(made.token, "a0".repeat(16));
    assert_eq!(made.expires_at.unwrap().seconds, 1_600, "ten minutes by default");
    assert_eq!((made.ca_fingerprint, made.ca_address.as_str()), ("cd".repeat(32), "ca.example.org:8443"));
    assert_eq!((made.trust_domain.as_str(), made.node.as_str()), ("example.org", "n1"));
    let hash = JoinToken::parse(&made.token).unwrap().hash();
    clock.advance(Duration::from_secs(599));
    crate::store::TokenStore::redeem_token(store.as_ref(), hash, vec![1; 91], clock.now().into()).await.unwrap();
    clock.advance(Duration::from_secs(1));
    let late = crate::store::TokenStore::redeem_token(store.as_ref(), hash, vec![1; 91], clock.now().into()).await;
    assert!(matches!(late, Err(RedeemError::Expired { .. })));
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let token = made.token.as_bytes();
        assert!(!bytes.windows(token.len()).any(|window| window == token));
    }
}

#[tokio::test]
async fn a_token_is_listed_and_revoked_by_its_id_and_nothing_else_is_taken_for_one() {
    use crate::store::{AuditReader as _, TokenStore as _};
    let Fixture { service, store, clock, directory: _directory, .. } = fixture();
    let made = service.create_token(from_us(token_request(0))).await.unwrap().into_inner();
    let list = async || service.list_tokens(from_us(v1::ListTokensRequest {})).await.unwrap().into_inner().tokens;
    let open = list().await;
    let wanted = v1::JoinTokenRecord { id: made.id.clone(), node: "n1".to_owned(), expires_at: made.expires_at, used: false };
    assert_eq!(open, std::slice::from_ref(&wanted));
    let revoke = async |id: &str| service.revoke_token(from_us(v1::RevokeTokenRequest { id: id.to_owned() })).await;
    for (id, why) in [
        ("", "signet/TOKEN_ID_INVALID"),
        (made.token.as_str(), "signet/TOKEN_ID_INVALID"),
        (&"0".repeat(16), "signet/TOKEN_NOT_FOUND"),
    ] {
        assert_eq!(reason(&revoke(id).await.unwrap_err()), why, "{id}");
    }
    assert_eq!(revoke(&made.id).await.unwrap().into_inner().token, Some(wanted));
    assert_eq!(list().await, []);
    let hash = JoinToken::parse(&made.token).unwrap().hash();
    let refused = store.redeem_token(hash, vec![1; 91], clock.now().into()).await;
    assert!(matches!(refused, Err(RedeemError::Expired { .. })));
    let events = store.audit_after(0, 99).await.unwrap();
    let last = events.last().map(|event| (event.kind.as_str(), event.body.contains(&made.id)));
    assert_eq!(last, Some(("token_refused", true)));
    let uid = format!("\"uid\":{}", nix::unistd::geteuid());
    assert!(events.iter().any(|event| event.kind == "token_revoked" && event.body.contains(&uid)));
}

#[tokio::test]
async fn a_token_lives_a_day_at_most() {
    let Fixture { service, directory: _directory, .. } = fixture();
    let day = 24 * 60 * 60;
    assert!(service.create_token(from_us(token_request(day))).await.is_ok());
    let status = service.create_token(from_us(token_request(day + 1))).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "signet/TTL_ABOVE_MAX"));
}

#[tokio::test]
async fn a_caller_whom_the_kernel_does_not_name_is_refused_everything() {
    let Fixture { service, store, directory: _directory, .. } = fixture();
    let name = || "n1".to_owned();
    let refusals = [
        service.create_entry(Request::new(entry_request())).await.err(),
        service.list_entries(Request::new(v1::ListEntriesRequest::default())).await.err(),
        service.get_entry(Request::new(v1::GetEntryRequest::default())).await.err(),
        service.delete_entry(Request::new(v1::DeleteEntryRequest::default())).await.err(),
        service.update_entry(Request::new(v1::UpdateEntryRequest::default())).await.err(),
        service.apply_entries(Request::new(v1::ApplyEntriesRequest::default())).await.err(),
        service.create_node_alias(Request::new(v1::CreateNodeAliasRequest::default())).await.err(),
        service.list_node_aliases(Request::new(v1::ListNodeAliasesRequest {})).await.err(),
        service.change_node_alias(Request::new(v1::ChangeNodeAliasRequest::default())).await.err(),
        service.delete_node_alias(Request::new(v1::DeleteNodeAliasRequest::default())).await.err(),
        service.create_token(Request::new(token_request(0))).await.err(),
        service.list_nodes(Request::new(v1::ListNodesRequest {})).await.err(),
        service.evict_node(Request::new(v1::EvictNodeRequest { node: name() })).await.err(),
        service.ban_node(Request::new(v1::BanNodeRequest { node: name() })).await.err(),
        service.unban_node(Request::new(v1::UnbanNodeRequest { node: name() })).await.err(),
        service.tail_audit(Request::new(tail_request(0, false))).await.err(),
        service.verify_audit(Request::new(v1::VerifyAuditRequest::default())).await.err(),
        service.list_orphans(Request::new(v1::ListOrphansRequest::default())).await.err(),
        service.acknowledge_fork(Request::new(v1::AcknowledgeForkRequest {})).await.err(),
        service.status(Request::new(v1::StatusRequest {})).await.err(),
    ];
    for (index, refusal) in refusals.into_iter().enumerate() {
        let status = refusal.unwrap_or_else(|| panic!("call {index} went through"));
        assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "signet/NOT_AN_OPERATOR"), "call {index}");
    }
    assert_eq!(*crate::store::AuditLog::audit_head(store.as_ref()).borrow(), 0);
}

#[test]
fn root_and_the_own_user_may_operate_and_nobody_else() {
    assert!(may_operate(0, 1000) && may_operate(1000, 1000));
    assert!(!may_operate(1001, 1000) && !may_operate(1000, 0));
}

#[tokio::test]
async fn nodes_are_listed_with_their_connection_and_the_operator_is_in_the_log() {
    let Fixture { service, store, clock, directory: _directory, .. } = fixture();
    let made = service.create_token(from_us(token_request(0))).await.unwrap().into_inner();
    let hash = JoinToken::parse(&made.token).unwrap().hash();
    let store: &dyn Store = store.as_ref();
    store.redeem_token(hash, vec![1; 91], clock.now().into()).await.unwrap();
    let svid = crate::records::AgentSvidRecord {
        serial: SerialNumber::from_bytes(&[1, 0xff]).unwrap(),
        not_after: Timestamp::from_unix_seconds(5_000),
    };
    let grounds = SvidGrounds::Attestation { node_key_spki: vec![1; 91] };
    store.set_agent_svid("n1".parse().unwrap(), svid, grounds, clock.now().into()).await.unwrap();
    service.ban_node(from_us(v1::BanNodeRequest { node: "n2".to_owned() })).await.unwrap();
    let nodes = service.list_nodes(from_us(v1::ListNodesRequest {})).await.unwrap().into_inner().nodes;
    let facts =
        |node: &v1::NodeRecord| (node.node.clone(), node.state(), node.serial.clone(), node.connected, node.bundle_sequence);
    assert_eq!(facts(&nodes[0]), ("n1".to_owned(), v1::node_record::State::Attested, "01ff".to_owned(), true, 4));
    assert_eq!(facts(&nodes[1]), ("n2".to_owned(), v1::node_record::State::Banned, String::new(), false, 0));

    let status = service.create_token(from_us(v1::CreateTokenRequest { node: "n2".to_owned(), ttl_seconds: 0 })).await;
    assert_eq!(reason(&status.unwrap_err()), "signet/NODE_BANNED");
    service.unban_node(from_us(v1::UnbanNodeRequest { node: "n2".to_owned() })).await.unwrap();
    service.evict_node(from_us(v1::EvictNodeRequest { node: "n1".to_owned() })).await.unwrap();
    let events = store.audit_after(0, 99).await.unwrap();
    let uid = format!("\"uid\":{}", nix::unistd::geteuid());
    for kind in ["token_created", "node_banned", "node_unbanned", "node_evicted"] {
        assert!(events.iter().any(|event| event.kind == kind && event.body.contains(&uid)), "{kind}");
    }
}

#[tokio::test]
async fn a_tail_ends_with_the_last_event_or_goes_on_until_the_ca_stops() {
    let Fixture { service, stop, directory: _directory, .. } = fixture();
    for _ in 0..5 {
        service.create_token(from_us(token_request(0))).await.unwrap();
    }
    let sequences = async |lines: u32| {
        let events = service.tail_audit(from_us(tail_request(lines, false))).await.unwrap().into_inner();
        events.map(|event| event.unwrap().sequence).collect::<Vec<_>>().await
    };
    assert_eq!(sequences(2).await, [4, 5]);
    assert_eq!(sequences(0).await, [1, 2, 3, 4, 5]);
    assert_eq!(sequences(u32::MAX).await, [1, 2, 3, 4, 5]);

    let mut following = service.tail_audit(from_us(tail_request(1, true))).await.unwrap().into_inner();
    assert_eq!(following.next().await.unwrap().unwrap().sequence, 5);
    let (next, made) = tokio::join!(following.next(), service.create_token(from_us(token_request(0))));
    made.unwrap();
    let event = next.unwrap().unwrap();
    assert_eq!((event.sequence, event.kind.as_str(), event.hash.len()), (6, "token_created", 32));
    stop.fire();
    assert!(following.next().await.is_none());
}

#[tokio::test]
async fn verify_and_status_tell_what_there_is() {
    let Fixture { service, directory, .. } = fixture();
    service.create_token(from_us(token_request(0))).await.unwrap();
    service.create_entry(from_us(entry_request())).await.unwrap();
    let verify = async || {
        let answer = service.verify_audit(from_us(v1::VerifyAuditRequest::default())).await.unwrap().into_inner();
        let messages: Vec<_> = answer.map(Result::unwrap).collect().await;
        assert!(messages.iter().all(|message| message.of == 2));
        messages.into_iter().find_map(|message| message.verdict).unwrap()
    };
    let whole = verify().await;
    assert_eq!((whole.events, whole.findings_total), (2, 0));
    let status = service.status(from_us(v1::StatusRequest {})).await.unwrap().into_inner();
    assert!(status.ready);
    assert_eq!((status.entries, status.nodes_attested, status.nodes_connected), (1, 0, 1));
    assert_eq!(status.warnings, ["the issuer is past its half life"]);
    assert_eq!((status.certificates[0].role.as_str(), status.root_fingerprint), ("root", "cd".repeat(32)));
    let connection = rusqlite::Connection::open(directory.path().join("store.db")).unwrap();
    connection.execute_batch("UPDATE audit SET body = '{}' WHERE sequence = 1").unwrap();
    let broken = verify().await;
    let [finding] = broken.findings.as_slice() else { panic!("{broken:?}") };
    assert_eq!((finding.sequence, finding.kind.as_str()), (1, "event_edited"));
    assert!(finding.text.contains("event 1 was edited") && !finding.advice.is_empty(), "{finding:?}");
}

#[tokio::test]
async fn the_bundle_is_told_whole_as_a_jwks_document() {
    let Fixture { service, directory: _directory, .. } = fixture();
    let answer = service.get_bundle(from_us(v1::GetBundleRequest {})).await.unwrap().into_inner();
    assert_eq!(answer.trust_domain, "example.org");
    let bundle = TrustBundle::from_jwks(TrustDomain::parse("example.org").unwrap(), answer.document.as_bytes()).unwrap();
    assert_eq!((bundle.authorities().len(), bundle.sequence()), (1, 4));
    assert!(service.get_bundle(Request::new(v1::GetBundleRequest {})).await.is_err(), "only for an operator");
}
