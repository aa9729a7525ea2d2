//! JWT-SVIDs from the CA: what is asked, and which answers nobody gets.

use pki::{AudienceSet, JwtSvid};

use super::*;
use crate::ca_client::{CallFault, JwtIssuer, RefusalReason};
use crate::fakes::Answers;

fn audiences(texts: &[&str]) -> AudienceSet {
    AudienceSet::parse(texts).unwrap()
}

async fn ask(running: &Running, entry: &str) -> Result<JwtSvid, CallFault> {
    running.issuer.issue_jwt(Arc::new(crate::fakes::held::entry(entry, &["unix:uid:1"], 1, "")), audiences(&["mail", "db"])).await
}

async fn with_entry(bed: &Bed) -> Running {
    bed.ca.entries.send_replace(vec![bed.ca.entry("e1", "/web", "unix:uid:1")]);
    let running = bed.start();
    bed.ready(&running).await;
    bed.until("the entry is there", || running.views.borrow().entries.len() == 1).await;
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_svid_is_for_the_entry_and_exactly_the_audiences_asked_for() {
    let bed = Bed::new().await;
    let running = with_entry(&bed).await;
    let svid = ask(&running, "e1").await.unwrap();
    assert_eq!(svid.id(), &bed.ca.authority.id("/web"));
    assert_eq!(svid.audiences(), &audiences(&["db", "mail"]));
    assert_eq!(bed.ca.seen().tokens_asked, [("e1".to_owned(), vec!["db".to_owned(), "mail".to_owned()])]);
    let unknown = ask(&running, "e2").await.unwrap_err();
    assert_eq!(unknown.refusal(), Some(RefusalReason::EntryNotFound));
    assert_eq!(bed.ca.seen().tokens_asked.len(), 1, "for an entry that is not this node's nobody is asked");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_what_was_asked_for_is_nobodys() {
    let bed = Bed::new().await;
    let running = with_entry(&bed).await;
    let sound = Answers::default;
    for (spoiled, why) in [
        (Answers { wrong_name: Some("spiffe://example.org/admin".to_owned()), ..sound() }, "/admin"),
        (Answers { wrong_audience: Some("payments"), ..sound() }, "payments"),
        (Answers { stranger: true, ..sound() }, "no key"),
    ] {
        assert!(ask(&running, "e1").await.is_ok());
        bed.ca.answer(|answers| *answers = spoiled);
        let fault = ask(&running, "e1").await.unwrap_err();
        assert!(matches!(&fault, CallFault::Answer(text) if text.contains(why)), "{fault}");
        bed.ca.answer(|answers| *answers = sound());
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_and_one_of_the_node_itself_ends_its_standing() {
    let bed = Bed::new().await;
    let running = with_entry(&bed).await;
    bed.ca.answer(|answers| answers.refuse_issue = Some("ENTRY_NOT_FOUND"));
    let fault = ask(&running, "e1").await.unwrap_err();
    assert_eq!(fault.refusal(), Some(RefusalReason::EntryNotFound));
    bed.ca.answer(|answers| answers.refuse_issue = Some("MUST_REATTEST"));
    let fault = ask(&running, "e1").await.unwrap_err();
    assert_eq!(fault.refusal(), Some(RefusalReason::MustReattest));
    bed.ca.answer(|answers| answers.refuse_issue = None);
    bed.until("the node attests again", || bed.ca.seen().reattestations == 1).await;
    running.stop().await;
}
