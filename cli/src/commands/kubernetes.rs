//! `k8s ...`: what the CA keeps in a cluster.

use proto::v1;
use serde_json::{Value, json};

use crate::admin_client::{kubernetes_admin, request};
use crate::args::{
    AccountSecretArgs, KubernetesVerb, ListSecretsArgs, ListTrustArgs, PruneSecretsArgs, RenewSecretsArgs, SecretsVerb, TrustVerb,
};
use crate::failure::Failure;
use crate::output::{Answer, or_dash, printable, time_json, time_text};
use crate::output_format::OutputFormat;

pub(super) async fn run(verb: KubernetesVerb, format: OutputFormat) -> Result<(), Failure> {
    match verb {
        KubernetesVerb::Secrets(SecretsVerb::List(args)) => list(args).await,
        KubernetesVerb::Secrets(SecretsVerb::Renew(args)) => renew(args).await,
        KubernetesVerb::Secrets(SecretsVerb::Explain(args)) => explain(args).await,
        KubernetesVerb::Secrets(SecretsVerb::Prune(args)) => prune(args).await,
        KubernetesVerb::Trust(TrustVerb::List(args)) => trust(args).await,
    }?
    .print(format)
}

async fn list(args: ListSecretsArgs) -> Result<Answer, Failure> {
    let ListSecretsArgs { namespace, left, admin } = args;
    let mut client = kubernetes_admin(&admin.socket).await?;
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let namespace = namespace.clone().unwrap_or_default();
        let message = v1::ListAccountSecretsRequest { namespace, left_only: left, after };
        let answer = client.list_account_secrets(request(message)).await;
        let page = answer.map_err(|status| Failure::from_status("k8s secrets list", &status))?.into_inner();
        let v1::ListAccountSecretsResponse { secrets, next, leads, sweep_left } = page;
        all.extend(secrets);
        if next.is_empty() {
            return Ok(listed(&all, leads, sweep_left));
        }
        after = next;
    }
}

async fn renew(args: RenewSecretsArgs) -> Result<Answer, Failure> {
    let RenewSecretsArgs { namespace, account, all: _, admin } = args;
    let message = v1::RenewAccountSecretsRequest { namespace, account: account.unwrap_or_default() };
    let answer = kubernetes_admin(&admin.socket).await?.renew_account_secrets(request(message)).await;
    let count = answer.map_err(|status| Failure::from_status("k8s secrets renew", &status))?.into_inner().secrets;
    if count == 0 {
        let what = "no Secret of that account, or of that namespace, is kept by this CA";
        return Err(Failure::failed(what).advise("`signet k8s secrets list` and `signet k8s secrets explain`"));
    }
    let text = format!("{count} to be issued anew; `signet k8s secrets list` tells how far it has come");
    Ok(Answer::text(text, json!({ "secrets": count })))
}

async fn explain(args: AccountSecretArgs) -> Result<Answer, Failure> {
    let AccountSecretArgs { namespace, account, admin } = args;
    let message = v1::ExplainAccountSecretRequest { namespace, account };
    let answer = kubernetes_admin(&admin.socket).await?.explain_account_secret(request(message)).await;
    let lines = answer.map_err(|status| Failure::from_status("k8s secrets explain", &status))?.into_inner().lines;
    Ok(Answer::text(printable(&lines.join("\n")), json!({ "lines": lines })))
}

async fn prune(args: PruneSecretsArgs) -> Result<Answer, Failure> {
    let PruneSecretsArgs { namespace, dry_run, admin } = args;
    let message = v1::PruneAccountSecretsRequest { namespace: namespace.clone(), dry_run };
    let answer = kubernetes_admin(&admin.socket).await?.prune_account_secrets(request(message)).await;
    let accounts = answer.map_err(|status| Failure::from_status("k8s secrets prune", &status))?.into_inner().accounts;
    let what = if dry_run { "would be deleted" } else { "deleted" };
    let names: Vec<_> = accounts.iter().map(|account| format!("istio.{}", printable(account))).collect();
    let text = if names.is_empty() {
        format!("nothing is left in {namespace}, or the namespace is managed")
    } else {
        format!("{what} in {namespace}:\n{}", names.join("\n"))
    };
    Ok(Answer::text(text, json!({ "accounts": accounts, "dry_run": dry_run })))
}

async fn trust(args: ListTrustArgs) -> Result<Answer, Failure> {
    let ListTrustArgs { admin } = args;
    let answer = kubernetes_admin(&admin.socket).await?.list_trust_objects(request(v1::ListTrustObjectsRequest {})).await;
    let answer = answer.map_err(|status| Failure::from_status("k8s trust list", &status))?.into_inner();
    Ok(trust_listed(&answer))
}

fn trust_listed(answer: &v1::ListTrustObjectsResponse) -> Answer {
    let v1::ListTrustObjectsResponse { objects, more, leads, bundle_sequence, written_at } = answer;
    let rows = objects
        .iter()
        .map(|object| vec![object.what.clone(), printable(&object.name), trust_state(object).to_owned(), or_dash(&object.why)]);
    let of_objects = objects
        .iter()
        .map(|object| json!({ "what": object.what, "name": object.name, "state": trust_state(object), "why": object.why }));
    let json = json!({
        "objects": of_objects.collect::<Value>(), "more": more, "leads": leads,
        "bundle_sequence": bundle_sequence, "written_at": time_json(written_at.as_ref()),
    });
    let behind = objects.iter().filter(|object| object.state() == v1::TrustObjectState::Behind).count();
    let mut below = vec![match written_at {
        Some(at) if behind == 0 => format!("all show the roots of bundle {bundle_sequence}, since {}", time_text(Some(at))),
        _ => format!("{behind} do not show the roots of bundle {bundle_sequence} yet"),
    }];
    if *more > 0 {
        below.push(format!("and {more} more"));
    }
    if !leads {
        below.push("another replica leads and keeps them".to_owned());
    }
    let columns = ["what", "name", "state", "why"];
    Answer::table(&columns, rows.collect(), "no objects that show whom to trust", json).with_text(&below.join("\n"))
}

fn trust_state(object: &v1::TrustObject) -> &'static str {
    match object.state() {
        v1::TrustObjectState::Current => "current",
        v1::TrustObjectState::Behind => "behind",
        v1::TrustObjectState::Left => "left",
        v1::TrustObjectState::Absent => "absent",
        v1::TrustObjectState::Unspecified => "-",
    }
}

fn listed(secrets: &[v1::AccountSecret], leads: bool, sweep_left: u32) -> Answer {
    let rows = secrets.iter().map(|secret| {
        vec![
            secret.namespace.clone(),
            secret.account.clone(),
            state(secret).to_owned(),
            time_text(secret.not_after.as_ref()),
            time_text(secret.due_at.as_ref()),
            or_dash(&secret.why),
        ]
    });
    let json = json!({ "secrets": secrets.iter().map(secret_json).collect::<Value>(), "leads": leads, "sweep_left": sweep_left });
    let columns = ["namespace", "account", "state", "ends", "replaced", "why"];
    let mut below = Vec::new();
    if sweep_left > 0 {
        below.push(format!("{sweep_left} are still to be looked at after a change of the trust bundle, or to be issued anew"));
    }
    if !leads {
        below.push("another replica leads and keeps them".to_owned());
    }
    Answer::table(&columns, rows.collect(), "no Secrets of service accounts", json).with_text(&below.join("\n"))
}

fn state(secret: &v1::AccountSecret) -> &'static str {
    match secret.state() {
        v1::AccountSecretState::Good => "good",
        v1::AccountSecretState::Pending => "pending",
        v1::AccountSecretState::Left => "left",
        v1::AccountSecretState::Alien => "alien",
        v1::AccountSecretState::TooLong => "too_long",
        v1::AccountSecretState::Unspecified => "-",
    }
}

fn secret_json(secret: &v1::AccountSecret) -> Value {
    let v1::AccountSecret { namespace, account, state: _, why, serial, not_after, due_at } = secret;
    let text = |text: &String| if text.is_empty() { Value::Null } else { Value::String(text.clone()) };
    json!({
        "namespace": namespace,
        "account": account,
        "state": state(secret),
        "why": text(why),
        "serial": text(serial),
        "not_after": time_json(not_after.as_ref()),
        "due_at": time_json(due_at.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_tells_how_each_is_and_who_does_the_work() {
        let good = v1::AccountSecret {
            namespace: "shop".to_owned(),
            account: "web".to_owned(),
            state: v1::AccountSecretState::Good.into(),
            ..v1::AccountSecret::default()
        };
        let alien = v1::AccountSecret {
            account: "api".to_owned(),
            state: v1::AccountSecretState::Alien.into(),
            why: "not ours\u{1b}[31m".to_owned(),
            ..good.clone()
        };
        let answer = listed(&[good, alien], false, 7);
        let text = answer.as_text();
        for part in ["good", "alien", "not ours\u{fffd}[31m", "another replica leads", "7 are still to be looked at"] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        let json = answer.as_json();
        assert_eq!((&json["secrets"][0]["state"], &json["secrets"][0]["why"]), (&json!("good"), &Value::Null));
        assert_eq!((&json["leads"], &json["sweep_left"]), (&json!(false), &json!(7)));
        assert!(listed(&[], true, 0).as_text().contains("no Secrets"));
    }

    #[test]
    fn trust_tells_what_is_behind_and_why() {
        let object = |name: &str, state: v1::TrustObjectState, why: &str| v1::TrustObject {
            what: "istio-ca-root-cert".to_owned(),
            name: name.to_owned(),
            state: state.into(),
            why: why.to_owned(),
        };
        let objects = vec![
            object("shop", v1::TrustObjectState::Behind, "forbidden\u{1b}"),
            object("old", v1::TrustObjectState::Left, ""),
            object("web", v1::TrustObjectState::Current, ""),
        ];
        let written_at = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
        let mut answer = v1::ListTrustObjectsResponse { objects, more: 3, leads: true, bundle_sequence: 7, written_at };
        let told = trust_listed(&answer);
        for part in ["behind", "forbidden\u{fffd}", "left", "1 do not show the roots of bundle 7 yet", "and 3 more"] {
            assert!(told.as_text().contains(part), "{part} is missing in:\n{}", told.as_text());
        }
        assert_eq!((&told.as_json()["objects"][1]["state"], &told.as_json()["more"]), (&json!("left"), &json!(3)));
        answer.objects.remove(0);
        answer.leads = false;
        let told = trust_listed(&answer).as_text().to_owned();
        assert!(told.contains("all show the roots of bundle 7, since 1970") && told.contains("another replica leads"), "{told}");
    }
}
