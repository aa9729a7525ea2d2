//! Revocation: what is refused from then on, what agents are sent, and what becomes of it over restarts and rotations.

use std::time::Duration;

use identity::TrustDomain;
use pki::{Certificate, RevocationSet, SerialNumber, TrustBundle, X509Svid};
use proto::v1;
use proto::v1::authority_admin_client::AuthorityAdminClient;
use proto::v1::revoke_request::What;
use tonic::{Code, Status};

use crate::test_agent::{Connection, SyncStream, TestAgent, hello, reason};
use crate::test_ca::{TRUST_DOMAIN, TestCa, WITHOUT_ROTATION, eventually};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn knows_revocation() -> v1::Hello {
    v1::Hello { features: vec!["revocation".to_owned()], ..hello() }
}

fn bundle_of(wire: &v1::Bundle) -> TrustBundle {
    let x509 = wire.x509_authorities.iter().map(|der| Certificate::from_der(der).unwrap()).collect();
    TrustBundle::new(TrustDomain::parse(TRUST_DOMAIN).unwrap(), x509, wire.sequence).unwrap()
}

/// The lists as an agent verifies them.
fn verified(wire: &v1::RevocationLists, bundle: &v1::Bundle) -> RevocationSet {
    let lists = wire.lists.iter().map(|list| (list.list.as_slice(), list.issuer.as_slice()));
    RevocationSet::verify(lists, wire.sequence, wire.complete, &bundle_of(bundle)).unwrap()
}

async fn revoke(ca: &TestCa, what: What) -> Result<v1::RevokeResponse, Status> {
    let request = v1::RevokeRequest { what: Some(what), reason: v1::RevocationReason::KeyCompromise.into(), dry_run: false };
    Ok(ca.operator().await.revoke(request).await?.into_inner())
}

async fn listed(ca: &TestCa) -> v1::ListRevocationsResponse {
    let mut pages = ca.operator().await.list_revocations(v1::ListRevocationsRequest {}).await.unwrap().into_inner();
    let mut all = pages.message().await.unwrap().unwrap();
    while let Some(page) = pages.message().await.unwrap() {
        all.certificates.extend(page.certificates);
    }
    all
}

/// Updates until this holds of one.
async fn until(stream: &mut SyncStream, mut holds: impl FnMut(&v1::SyncUpdate) -> bool) -> v1::SyncUpdate {
    let looking = async {
        loop {
            let update = stream.update().await.unwrap();
            stream.acknowledge(update.sequence, 0).await;
            if holds(&update) {
                return update;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looking).await.expect("the update comes")
}

async fn jwt(connection: &Connection, entry: &str) -> Result<(), Status> {
    let request = v1::IssueJwtSvidRequest { entry_id: entry.to_owned(), audiences: vec!["db".to_owned()], service_account: None };
    connection.node().issue_jwt_svid(request).await.map(drop)
}

async fn complete(ca: &TestCa) {
    eventually("every CA has its list", async || ca.status().await.revocation.unwrap().complete).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_ca_has_a_list_from_the_start_that_agents_can_verify() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    complete(&ca).await;
    let mut stream = agent.connect(&ca).await.sync(knows_revocation()).await.unwrap();
    assert!(stream.hello().await.features.iter().any(|feature| feature == "revocation"));
    let first = stream.update().await.unwrap();
    let set = verified(&first.revocation.unwrap(), &first.bundle.clone().unwrap());
    assert!(set.complete_for(&bundle_of(&first.bundle.unwrap()), ca.clock_now()));
    assert!(set.lists().len() == 2 && set.lists().iter().all(|list| list.is_empty()));
    assert!(set.lists().iter().all(|list| list.next_update() == ca.clock_now().plus(DAY * 7)));
    assert!(!set.is_revoked(agent.svid.leaf()));

    // And over HTTP, for whoever fetches.
    let all = ca.http("/crl").await;
    assert!(all.starts_with("HTTP/1.1 200") && all.contains("application/x-pem-file"), "{all}");
    assert_eq!(all.matches("-----BEGIN X509 CRL-----").count(), 2);
    assert!(all.ends_with(&set.to_pem()));
    let missing = ca.http(&format!("/crl/{}.crl", "0".repeat(64))).await;
    assert!(missing.starts_with("HTTP/1.1 404") && missing.contains("/crl/<key of the issuer>.crl"), "{missing}");
    let head = ca.http_head(&format!("/crl/{}.crl", data_encoding::HEXLOWER.encode(&set.lists()[1].issuer_key()))).await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/pkix-crl"), "{head}");
    // Numbers are told once a second.
    let told = async || ca.http("/metrics").await.contains("signet_ca_revocation_lists_complete 1");
    eventually("the metric", told).await;

    // Whoever does not know lists is not sent any.
    let mut other = TestAgent::attest(&ca, "n2").await.connect(&ca).await.sync(hello()).await.unwrap();
    other.hello().await;
    assert_eq!(other.update().await.unwrap().revocation, None);

    let status = listed(&ca).await.status.unwrap();
    let names: Vec<_> = status.lists.iter().map(|list| list.authority.as_str()).collect();
    assert_eq!((names, status.missing), (vec!["root-1", "issuer-1"], Vec::<String>::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_identity_is_refused_on_every_path_and_named_to_everybody_until_it_is_restored() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let (web, api) = (ca.entry("/web", "n1").await, ca.entry("/api", "n1").await);
    complete(&ca).await;
    let connection = agent.connect(&ca).await;
    let (first, second) = (connection.issue(&web.id).await.unwrap().unwrap(), connection.issue(&web.id).await.unwrap().unwrap());
    let other = connection.issue(&api.id).await.unwrap().unwrap();
    jwt(&connection, &web.id).await.unwrap();
    let mut stream = connection.sync(knows_revocation()).await.unwrap();
    stream.hello().await;
    let start = until(&mut stream, |update| update.revocation.is_some()).await;
    let bundle = start.bundle.unwrap();
    let before = verified(&start.revocation.unwrap(), &bundle);

    let what = What::SpiffeId("spiffe://example.org/web".to_owned());
    let dry = v1::RevokeRequest { what: Some(what.clone()), dry_run: true, ..v1::RevokeRequest::default() };
    let planned = ca.operator().await.revoke(dry).await.unwrap().into_inner();
    assert_eq!((planned.certificates_total, planned.identity_denied, planned.revoked_before), (2, true, 0));
    assert!(connection.issue(&web.id).await.unwrap().is_ok(), "a dry run changes nothing");
    assert!(!ca.audit().await.contains("identity_denied"));

    let done = revoke(&ca, what.clone()).await.unwrap();
    assert_eq!((done.certificates_total, done.identity_denied), (3, true));
    assert!(done.sequence > before.sequence());
    let refused = connection.issue(&web.id).await.unwrap().unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (Code::PermissionDenied.into(), "IDENTITY_REVOKED"));
    assert!(refused.message.contains("signet unrevoke --spiffe-id spiffe://example.org/web"), "{}", refused.message);
    assert_eq!(reason(&jwt(&connection, &web.id).await.unwrap_err()), "IDENTITY_REVOKED");
    // Nobody else is concerned.
    assert!(connection.issue(&api.id).await.unwrap().is_ok());
    jwt(&connection, &api.id).await.unwrap();
    connection.renew().await.unwrap();

    let told = until(&mut stream, |update| update.upserted.iter().any(|entry| entry.revoked)).await;
    assert_eq!(told.upserted.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), [web.id.as_str()]);
    let lists = match told.revocation {
        Some(lists) => lists,
        None => until(&mut stream, |update| update.revocation.is_some()).await.revocation.unwrap(),
    };
    let set = verified(&lists, &bundle);
    assert!(set.complete_at(ca.clock_now()) && set.sequence() == done.sequence);
    assert!(set.is_revoked(first.leaf()) && set.is_revoked(second.leaf()));
    assert!(!set.is_revoked(other.leaf()) && !set.is_revoked(agent.svid.leaf()));
    let number = |set: &RevocationSet| *set.lists().iter().find(|list| list.is_for(first.leaf())).unwrap().number();
    assert!(number(&set) > number(&before));

    // Again is no error, and nothing new.
    let again = revoke(&ca, what).await.unwrap();
    assert_eq!((again.certificates_total, again.revoked_before, again.identity_denied), (0, 3, false));
    let shown = listed(&ca).await;
    assert_eq!(shown.identities.iter().map(|denied| denied.spiffe_id.as_str()).collect::<Vec<_>>(), ["spiffe://example.org/web"]);
    assert!(shown.certificates.iter().any(|revoked| revoked.serial == first.leaf().serial().to_string()));
    assert_eq!(shown.certificates[0].reason, i32::from(v1::RevocationReason::KeyCompromise));

    let restore = v1::UnrevokeRequest { what: Some(v1::unrevoke_request::What::SpiffeId("spiffe://example.org/web".to_owned())) };
    assert!(ca.operator().await.unrevoke(restore.clone()).await.unwrap().into_inner().changed);
    assert!(!ca.operator().await.unrevoke(restore).await.unwrap().into_inner().changed);
    let anew = connection.issue(&web.id).await.unwrap().unwrap();
    let told = until(&mut stream, |update| update.upserted.iter().any(|entry| entry.id == web.id)).await;
    assert!(!told.upserted[0].revoked);
    assert!(set.is_revoked(first.leaf()) && !set.is_revoked(anew.leaf()), "what was revoked stays so");
    let audit = ca.audit().await;
    for kind in ["identity_denied", "identity_restored", "certificate_revoked", "revocation_list_intended"] {
        assert!(audit.contains(kind), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_is_out_with_everything_that_it_had_and_an_agent_svid_alone_has_to_be_proved_anew() {
    let ca = TestCa::start().await;
    let (agent, spared) = (TestAgent::attest(&ca, "n1").await, TestAgent::attest(&ca, "n2").await);
    let (web, other) = (ca.entry("/web", "n1").await, ca.entry("/other", "n2").await);
    let (connection, of_spared) = (agent.connect(&ca).await, spared.connect(&ca).await);
    let leaf = connection.issue(&web.id).await.unwrap().unwrap();
    let spared_leaf = of_spared.issue(&other.id).await.unwrap().unwrap();

    // By its serial the agent SVID opens nothing any more; the node may prove itself again.
    let serial = |svid: &X509Svid| What::Serial(svid.leaf().serial().to_string());
    assert_eq!(revoke(&ca, serial(&spared.svid)).await.unwrap().certificates_total, 1);
    assert_eq!(reason(&of_spared.no_entry().await.unwrap_err()), "MUST_REATTEST");
    connection.no_entry().await.unwrap();

    let done = revoke(&ca, What::Node("n1".to_owned())).await.unwrap();
    assert_eq!((done.certificates_total, done.node_banned, done.identity_denied), (2, true, false));
    let mut revoked: Vec<_> = done.certificates.iter().map(|revoked| revoked.serial.clone()).collect();
    let mut meant = [leaf.leaf(), agent.svid.leaf()].map(|leaf| leaf.serial().to_string());
    revoked.sort();
    meant.sort();
    assert_eq!(revoked, meant);
    assert_eq!(reason(&connection.no_entry().await.unwrap_err()), "BANNED");
    let shown = listed(&ca).await;
    assert!(shown.certificates.iter().all(|revoked| revoked.serial != spared_leaf.leaf().serial().to_string()));
    let unban = v1::UnrevokeRequest { what: Some(v1::unrevoke_request::What::Node("n1".to_owned())) };
    assert!(ca.operator().await.unrevoke(unban.clone()).await.unwrap().into_inner().changed);
    assert!(!ca.operator().await.unrevoke(unban).await.unwrap().into_inner().changed);
    drop(TestAgent::attest(&ca, "n1").await.connect(&ca).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_revoked_is_refused_with_the_reason() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let connection = agent.connect(&ca).await;
    let refusal = async |what| {
        let refused = revoke(&ca, what).await.unwrap_err();
        (refused.code(), reason(&refused))
    };
    let serving = connection.server_serial.to_string();
    assert_eq!(refusal(What::Serial(serving)).await, (Code::FailedPrecondition, "CERTIFICATE_OF_THE_CA".to_owned()));
    assert_eq!(refusal(What::Serial("0102".to_owned())).await, (Code::NotFound, "CERTIFICATE_NOT_FOUND".to_owned()));
    let invalid = (Code::InvalidArgument, "REVOCATION_INVALID".to_owned());
    for what in [
        What::Serial("zz".to_owned()),
        What::SpiffeId("spiffe://other.org/web".to_owned()),
        What::SpiffeId("spiffe://example.org/signet/agent/n1".to_owned()),
        What::SpiffeId("spiffe://example.org".to_owned()),
    ] {
        assert_eq!(refusal(what).await, invalid);
    }
    let serial = agent.svid.leaf().serial().to_string();
    ca.clock.advance(Duration::from_secs(3600 + 601));
    assert_eq!(refusal(What::Serial(serial)).await, (Code::FailedPrecondition, "CERTIFICATE_ENDED".to_owned()));
    assert!(!ca.audit().await.contains("certificate_revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_deleted_may_take_its_certificates_with_it() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let (kept, revoked) = (ca.entry("/kept", "n1").await, ca.entry("/revoked", "n1").await);
    let connection = agent.connect(&ca).await;
    for entry in [&kept, &revoked] {
        drop(connection.issue(&entry.id).await.unwrap().unwrap());
    }
    let plain = v1::DeleteEntryRequest { id: kept.id, ..v1::DeleteEntryRequest::default() };
    let deleted = ca.operator().await.delete_entry(plain).await.unwrap().into_inner();
    assert_eq!((deleted.outstanding.unwrap().count, deleted.revoked), (1, 0));
    let with = v1::DeleteEntryRequest { id: revoked.id, revoke: true, reason: v1::RevocationReason::CessationOfOperation.into() };
    let deleted = ca.operator().await.delete_entry(with).await.unwrap().into_inner();
    assert_eq!((deleted.outstanding, deleted.revoked), (None, 1));
    let shown = listed(&ca).await;
    assert_eq!((shown.certificates.len(), shown.identities.len()), (1, 0));
    assert_eq!(shown.certificates[0].spiffe_id, "spiffe://example.org/revoked");
    // The identity itself is not denied.
    let again = ca.entry("/revoked", "n1").await;
    assert!(connection.issue(&again.id).await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_never_go_back_lists_are_renewed_at_half_and_what_has_ended_leaves_them() {
    let ca = TestCa::start_without_rotation().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    complete(&ca).await;
    let serial = agent.svid.leaf().serial().to_string();
    revoke(&ca, What::Serial(serial)).await.unwrap();
    let issuer = async |ca: &TestCa| {
        let status = ca.status().await.revocation.unwrap();
        let list = status.lists.into_iter().find(|list| list.authority == "issuer-1").unwrap();
        (list.number.parse::<u64>().unwrap(), list.entries, list.next_update.unwrap().seconds)
    };
    let (number, entries, next_update) = issuer(&ca).await;
    assert_eq!(entries, 1);
    let (directory, clock) = ca.stop().await;
    let ca = TestCa::over_with(WITHOUT_ROTATION, directory, clock).await;
    complete(&ca).await;
    assert_eq!(issuer(&ca).await, (number, 1, next_update), "a restart signs nothing that is not due");
    ca.clock.advance(DAY * 3);
    let (directory, clock) = ca.stop().await;
    clock.advance(DAY);
    let ca = TestCa::over_with(WITHOUT_ROTATION, directory, clock).await;
    complete(&ca).await;
    eventually("past half of its life there is another", async || issuer(&ca).await.0 > number).await;
    let (_, entries, renewed) = issuer(&ca).await;
    assert!(renewed > next_update);
    assert_eq!(entries, 0, "the certificate has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_root_has_its_list_before_it_is_published_and_the_old_ones_keep_theirs() {
    let ca = TestCa::start_without_rotation().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let web = ca.entry("/web", "n1").await;
    complete(&ca).await;
    let connection = agent.connect(&ca).await;
    let old = connection.issue(&web.id).await.unwrap().unwrap();
    let mut stream = connection.sync(knows_revocation()).await.unwrap();
    stream.hello().await;
    drop(stream.update().await.unwrap());
    let mut authorities = AuthorityAdminClient::new(ca.admin_channel().await);
    let prepare = v1::PrepareAuthorityRequest { kind: v1::AuthorityKind::Root.into() };
    authorities.prepare_authority(prepare).await.unwrap();
    let with_bundle = until(&mut stream, |update| update.bundle.is_some()).await;
    let bundle = with_bundle.bundle.unwrap();
    let lists = match with_bundle.revocation {
        Some(lists) => lists,
        None => until(&mut stream, |update| update.revocation.is_some()).await.revocation.unwrap(),
    };
    let set = verified(&lists, &bundle);
    assert!(set.complete_for(&bundle_of(&bundle), ca.clock_now()), "{set:?}");
    assert_eq!((bundle.x509_authorities.len(), set.lists().len()), (2, 4));

    let accepted = v1::AcceptedLosses { nodes: vec!["n1".to_owned()], ..v1::AcceptedLosses::default() };
    let activate = v1::ActivateAuthorityRequest { name: "root-2".to_owned(), accepted: Some(accepted) };
    authorities.activate_authority(activate).await.unwrap();
    // What an old issuing CA signed is revoked by its own key.
    revoke(&ca, What::Serial(old.leaf().serial().to_string())).await.unwrap();
    let is_named =
        |update: &v1::SyncUpdate| update.revocation.as_ref().is_some_and(|lists| verified(lists, &bundle).is_revoked(old.leaf()));
    until(&mut stream, is_named).await;
    assert!(ca.status().await.revocation.unwrap().complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_list_of_the_root_nothing_is_complete_and_everything_works() {
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let ca = TestCa::start_without_rotation().await;
    let key = ca.directory().join("ca/root-key.pem");
    let away = directory.path().join("root-key.pem");
    complete(&ca).await;
    // The key is taken elsewhere, and the list that it signed is over.
    std::fs::rename(&key, &away).unwrap();
    let (state, clock) = ca.stop().await;
    clock.advance(DAY * 8);
    let ca = TestCa::over_with(WITHOUT_ROTATION, state, clock).await;
    eventually("the issuing CA has its list", async || ca.status().await.revocation.unwrap().lists.len() == 1).await;
    let status = ca.status().await;
    let revocation = status.revocation.unwrap();
    assert!(!revocation.complete && revocation.missing[0].contains("ca-crl.pem"), "{:?}", revocation.missing);
    assert!(status.warnings.iter().any(|warning| warning.contains("root-1 has no revocation list")), "{:?}", status.warnings);
    assert!(status.ready);
    let agent = TestAgent::attest(&ca, "n1").await;
    let web = ca.entry("/web", "n1").await;
    let leaf = agent.connect(&ca).await.issue(&web.id).await.unwrap().unwrap();
    let serial: SerialNumber = leaf.leaf().serial().clone();
    assert_eq!(revoke(&ca, What::Serial(serial.to_string())).await.unwrap().certificates_total, 1);

    // A list that was made where the key is.
    let root = Certificate::from_der(&agent.bundle.x509_authorities[0]).unwrap();
    let pem = pki::PrivateKey::from_pem(&std::fs::read(&away).unwrap()).unwrap();
    let template = pki::crl::CrlTemplate {
        issuer: &root,
        number: 1_900_000_000.into(),
        this_update: ca.clock_now(),
        next_update: ca.clock_now().plus(DAY * 30),
        entries: &[],
    };
    let list = pki::crl::prepare_crl(&template).unwrap().sign(&pem).unwrap();
    let list = pki::RevocationList::verify(&list, root.der(), &bundle_of(&agent.bundle)).unwrap();
    let place = ca.directory().join("ca/ca-crl.pem");
    std::fs::write(&place, list.to_pem()).unwrap();
    let (state, clock) = ca.stop().await;
    let ca = TestCa::over_with(WITHOUT_ROTATION, state, clock).await;
    complete(&ca).await;
    let status = ca.status().await.revocation.unwrap();
    assert!(status.lists.iter().any(|list| list.imported && list.authority == "root-1"));
    // It ends, and nothing but completeness does with it.
    let (state, clock) = ca.stop().await;
    clock.advance(DAY * 21);
    let ca = TestCa::over_with(WITHOUT_ROTATION, state, clock).await;
    let warned = async |text: &str| ca.status().await.warnings.iter().any(|warning| warning.contains(text));
    eventually("a third before its end it is told", async || warned("make the next one where its key is").await).await;
}
