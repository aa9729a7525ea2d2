//! `federation ...`.

use pki::JwksContent;
use proto::v1;
use serde_json::{Value, json};

use super::bundle::read_bundle;
use crate::admin_client::{federation_admin, request};
use crate::args::{AddFederationArgs, CaSocketArgs, FederationVerb, OneFederationArgs, ProfileArg};
use crate::failure::Failure;
use crate::output::{Answer, facts_text, or_dash, time_json, time_text};
use crate::output_format::OutputFormat;

pub(super) async fn run(verb: FederationVerb, format: OutputFormat) -> Result<(), Failure> {
    match verb {
        FederationVerb::Add(args) => add(args).await?.print(format),
        FederationVerb::List(args) => list(&args).await?.print(format),
        FederationVerb::Refresh(args) => refresh(args).await?.print(format),
        FederationVerb::Remove(args) => remove(args).await?.print(format),
    }
}

async fn add(args: AddFederationArgs) -> Result<Answer, Failure> {
    let AddFederationArgs { trust_domain, endpoint, profile, endpoint_spiffe_id, bundle, admin } = args;
    let bundle = bundle.map(|file| read_bundle(&file, &trust_domain)).transpose()?;
    let message = v1::AddFederationRequest {
        trust_domain: trust_domain.to_string(),
        endpoint_url: endpoint,
        profile: match profile {
            ProfileArg::HttpsWeb => v1::FederationProfile::HttpsWeb,
            ProfileArg::HttpsSpiffe => v1::FederationProfile::HttpsSpiffe,
        }
        .into(),
        endpoint_spiffe_id: endpoint_spiffe_id.map(|id| id.to_string()).unwrap_or_default(),
        bundle: bundle.map(|bundle| bundle.to_jwks(JwksContent::All).into_bytes()).unwrap_or_default(),
    };
    let answer = federation_admin(&admin.socket).await?.add_federation(request(message)).await;
    let added = answer.map_err(|status| Failure::from_status("federation add", &status))?.into_inner();
    let hint = "hint: entries get its bundle by `--federates-with`; `signet federation list` tells how the endpoint answers";
    Ok(one(&added).with_text(hint))
}

async fn list(args: &CaSocketArgs) -> Result<Answer, Failure> {
    let answer = federation_admin(&args.socket).await?.list_federations(request(v1::ListFederationsRequest {})).await;
    let answer = answer.map_err(|status| Failure::from_status("federation list", &status))?.into_inner();
    Ok(listed(&answer.federations))
}

async fn refresh(args: OneFederationArgs) -> Result<Answer, Failure> {
    let message = v1::RefreshFederationRequest { trust_domain: args.trust_domain.to_string() };
    let answer = federation_admin(&args.admin.socket).await?.refresh_federation(request(message)).await;
    let asked = answer.map_err(|status| Failure::from_status("federation refresh", &status))?.into_inner();
    if asked.trouble.is_empty() {
        return Ok(one(&asked));
    }
    let what = format!("no good bundle of {} came; the one that is held stays", args.trust_domain);
    Err(Failure::failed(what).because(crate::output::printable(&asked.trouble)))
}

async fn remove(args: OneFederationArgs) -> Result<Answer, Failure> {
    let message = v1::RemoveFederationRequest { trust_domain: args.trust_domain.to_string() };
    let answer = federation_admin(&args.admin.socket).await?.remove_federation(request(message)).await;
    let entries = answer.map_err(|status| Failure::from_status("federation remove", &status))?.into_inner().entries;
    let named = match entries {
        0 => String::new(),
        1 => "\n1 entry names it still, which gives it nothing".to_owned(),
        more => format!("\n{more} entries name it still, which gives them nothing"),
    };
    let text = format!("the relationship with {} is ended: nothing of it is accepted any more{named}", args.trust_domain);
    Ok(Answer::text(text, json!({ "removed": args.trust_domain.to_string(), "entries": entries })))
}

fn one(federation: &v1::Federation) -> Answer {
    let bundle = federation.bundle.as_ref();
    let facts = [
        ("trust domain", federation.trust_domain.clone()),
        ("endpoint", federation.endpoint_url.clone()),
        ("profile", profile(federation).to_owned()),
        ("endpoint is", or_dash(&federation.endpoint_spiffe_id)),
        ("bundle", bundle_text(bundle)),
        ("added", time_text(federation.created_at.as_ref())),
        ("answered", time_text(federation.answered_at.as_ref())),
        ("asked next", time_text(federation.next_at.as_ref())),
    ];
    Answer::text(facts_text(facts), federation_json(federation))
}

fn listed(federations: &[v1::Federation]) -> Answer {
    let rows = federations.iter().map(|federation| {
        vec![
            federation.trust_domain.clone(),
            profile(federation).to_owned(),
            bundle_text(federation.bundle.as_ref()),
            state(federation).to_owned(),
            time_text(federation.answered_at.as_ref()),
            federation.endpoint_url.clone(),
        ]
    });
    let json = federations.iter().map(federation_json).collect();
    let columns = ["trust domain", "profile", "bundle", "state", "answered", "endpoint"];
    let answer = Answer::table(&columns, rows.collect(), "no relationships with other trust domains", json);
    let troubles = federations.iter().filter(|federation| !federation.trouble.is_empty());
    let troubles: Vec<_> = troubles.map(|federation| format!(" ! {}: {}", federation.trust_domain, federation.trouble)).collect();
    answer.with_text(&crate::output::printable(&troubles.join("\n")))
}

fn state(federation: &v1::Federation) -> &'static str {
    match (&federation.bundle, federation.stale) {
        (None, _) => "no bundle yet",
        (Some(_), true) => "stale",
        (Some(_), false) => "current",
    }
}

fn profile(federation: &v1::Federation) -> &'static str {
    match federation.profile() {
        v1::FederationProfile::HttpsWeb => "https_web",
        v1::FederationProfile::HttpsSpiffe => "https_spiffe",
        v1::FederationProfile::Unspecified => "-",
    }
}

fn bundle_text(bundle: Option<&v1::ForeignBundleStatus>) -> String {
    bundle.map_or_else(
        || "-".to_owned(),
        |bundle| format!("sequence {}, {} X.509, {} JWT", bundle.sequence, bundle.x509_authorities, bundle.jwt_authorities),
    )
}

fn federation_json(federation: &v1::Federation) -> Value {
    let bundle = federation.bundle.as_ref().map(|bundle| {
        json!({
            "sequence": bundle.sequence,
            "taken_at": time_json(bundle.taken_at.as_ref()),
            "x509_authorities": bundle.x509_authorities,
            "jwt_authorities": bundle.jwt_authorities,
            "refresh_seconds": bundle.refresh_seconds,
        })
    });
    let text = |text: &String| if text.is_empty() { Value::Null } else { Value::String(text.clone()) };
    json!({
        "trust_domain": federation.trust_domain,
        "endpoint": federation.endpoint_url,
        "profile": profile(federation),
        "endpoint_spiffe_id": text(&federation.endpoint_spiffe_id),
        "created_at": time_json(federation.created_at.as_ref()),
        "state": state(federation),
        "bundle": bundle,
        "answered_at": time_json(federation.answered_at.as_ref()),
        "next_at": time_json(federation.next_at.as_ref()),
        "trouble": text(&federation.trouble),
        "stale": federation.stale,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_says_of_each_how_current_it_is_and_what_is_wrong() {
        let bundle = v1::ForeignBundleStatus { sequence: 7, x509_authorities: 2, jwt_authorities: 1, ..Default::default() };
        let good = v1::Federation {
            trust_domain: "a.org".to_owned(),
            profile: v1::FederationProfile::HttpsWeb.into(),
            bundle: Some(bundle),
            ..v1::Federation::default()
        };
        let old = v1::Federation {
            trust_domain: "b.org".to_owned(),
            stale: true,
            trouble: "it does not answer\u{1b}[31m".to_owned(),
            ..good.clone()
        };
        let none = v1::Federation { trust_domain: "c.org".to_owned(), bundle: None, ..old.clone() };
        let answer = listed(&[good, old, none]);
        let text = answer.as_text();
        for part in
            ["sequence 7, 2 X.509, 1 JWT", "current", "stale", "no bundle yet", " ! b.org: it does not answer\u{fffd}[31m"]
        {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        let json = answer.as_json();
        assert_eq!((&json[0]["state"], &json[1]["trouble"].is_string()), (&json!("current"), &true));
        assert_eq!((&json[2]["bundle"], &json[0]["trouble"]), (&Value::Null, &Value::Null));
        assert!(listed(&[]).as_text().contains("no relationships"));
    }
}
