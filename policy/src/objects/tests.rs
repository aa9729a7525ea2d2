//! What is read of whole objects; what is refused stands in `tests/data/`.

use super::*;
use crate::diagnostic::Code;
use crate::path::PathPattern;
use crate::pattern::{AccountPattern, AddressRange, Pattern};

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn path(text: &str) -> PathPattern {
    PathPattern::parse(text).unwrap()
}

fn one(text: &str) -> Outcome {
    let mut reading = read(text, &ReadOptions::default());
    assert_eq!(reading.objects.len(), 1, "{:?}", reading.diagnostics);
    reading.objects.remove(0).outcome
}

fn policy(text: &str) -> AuthorizationPolicy {
    let outcome = one(text);
    let Outcome::Accepted(Object::AuthorizationPolicy(policy)) = outcome else { panic!("{outcome:?}") };
    policy
}

const WHOLE: &str = r#"
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web, namespace: shop, creationTimestamp: "2019-03-19T10:00:00Z", annotations: {istio.io/dry-run: "true"}}
spec:
  selector: {match_labels: {app: web}}
  action: DENY
  rules:
  - from:
    - source: {principals: ["*/ns/a/sa/b"], notNamespaces: [c], ip_blocks: [10.0.0.0/8]}
    - source: {serviceAccounts: [d, e/f]}
    to:
    - operation: {hosts: ["*.example"], ports: ["80"], methods: [GET], notPaths: [/a*, "/b/{*}"]}
    when:
    - {key: "request.headers[x-a]", values: ["1"]}
    - {key: "request.auth.claims[a][b]", notValues: ["2"]}
    - {key: destination.port, values: ["0", "65535"]}
"#;

#[test]
fn every_field_lands_where_it_belongs() {
    let policy = policy(WHOLE);
    assert_eq!(policy.metadata.created, Some(Timestamp(1_552_989_600)));
    assert!(policy.dry_run);
    assert_eq!(policy.scope, Scope::Workloads([("app".to_owned(), "web".to_owned())].into()));
    assert_eq!(policy.action, Action::Deny);
    let [rule] = &policy.rules[..] else { panic!("{policy:?}") };
    let [first, second] = &rule.from[..] else { panic!("{rule:?}") };
    assert_eq!(first.principals.values, [pattern("*/ns/a/sa/b")]);
    assert_eq!(first.namespaces.not_values, [pattern("c")]);
    assert_eq!(first.ip_blocks.values, [AddressRange::parse("10.0.0.0/8").unwrap()]);
    assert_eq!(second.service_accounts.values, ["d", "e/f"].map(|text| AccountPattern::parse(text).unwrap()));
    let [to] = &rule.to[..] else { panic!("{rule:?}") };
    assert_eq!((&to.ports.values[..], to.hosts.values.len(), to.methods.values.len()), (&[80][..], 1, 1));
    assert_eq!(to.paths.not_values, [path("/a*"), path("/b/{*}")]);
    assert!(matches!(&rule.when[0], Condition::Header { name, values } if name == "x-a" && values.values.len() == 1));
    assert!(matches!(&rule.when[1], Condition::RequestClaim { path, values } if path.len() == 2 && values.not_values.len() == 1));
    assert!(matches!(&rule.when[2], Condition::DestinationPort(ports) if ports.values == [0, 65_535]));
}

#[test]
fn json_is_read_as_yaml_is() {
    let json = r#"{
	"apiVersion": "security.istio.io/v1beta1", "kind": "AuthorizationPolicy",
	"metadata": {"name": "web", "namespace": "shop"},
	"spec": {"rules": [{"to": [{"operation": {"paths": ["\/a\u0062"]}}]}]}
}"#;
    assert_eq!(policy(json).rules[0].to[0].paths.values, [path("/ab")]);
}

#[test]
fn no_rules_and_one_empty_rule_are_a_world_apart() {
    let head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\n";
    assert_eq!(policy(&format!("{head}spec: {{}}")).rules, []);
    assert_eq!(policy(head).rules, []);
    assert_eq!(policy(&format!("{head}spec: {{rules: [{{}}]}}")).rules, [Rule::default()]);
    assert_eq!(policy(head).metadata.namespace, "default");
}

/// What is refused is the strictest of its kind, on what it selects when that much can be read.
#[test]
fn what_is_refused_is_the_strictest_of_its_kind() {
    let labels = Scope::Workloads([("app".to_owned(), "web".to_owned())].into());
    let everything = || vec![Rule::default()];
    for (from, to, scope, action, rules) in [
        ("notNamespaces", "notNamespace", labels.clone(), Action::Deny, everything()),
        ("action: DENY\n  rules:", "action: ALLOW\n  rule:", labels.clone(), Action::Allow, vec![]),
        ("action: DENY\n  rules:", "rule:", labels.clone(), Action::Allow, vec![]),
        ("action: DENY\n  rules:", "action: AUDIT\n  rule:", labels.clone(), Action::Audit, everything()),
        ("action: DENY", "action: CUSTOM", labels.clone(), Action::Deny, everything()),
        ("action: DENY", "action: deny", labels.clone(), Action::Deny, everything()),
        ("{app: web}", "{app: \"*\"}", Scope::Namespace, Action::Deny, everything()),
        ("action: DENY", "acton: DENY", labels.clone(), Action::Deny, everything()),
        ("action: DENY", "effect: DENY", labels, Action::Deny, everything()),
        ("\nspec:", "\nsepc:", Scope::Namespace, Action::Deny, everything()),
        ("values: [\"1\"]", "values: [\"1\"], values: [\"1\"]", Scope::Namespace, Action::Deny, everything()),
    ] {
        assert!(WHOLE.contains(from), "{from}");
        let Outcome::Refused { strictest: Object::AuthorizationPolicy(policy) } = one(&WHOLE.replace(from, to)) else {
            panic!("{to} is accepted");
        };
        assert_eq!((policy.scope, policy.action, policy.rules), (scope, action, rules), "{to}");
        assert_eq!((policy.metadata.namespace.as_str(), policy.metadata.name.as_str()), ("shop", "web"), "{to}");
    }
}

#[test]
fn one_document_takes_no_other_one_down() {
    let text = format!("{WHOLE}---\na: [\n---\n{}", WHOLE.replace("name: web", "name: api"));
    let reading = read(&text, &ReadOptions::default());
    let names: Vec<_> = reading.objects.iter().map(|object| (object.document, object.id.name.as_str())).collect();
    assert_eq!(names, [(1, "web"), (3, "api")]);
    assert_eq!(reading.unidentified, 1);
    let faults: Vec<_> = reading.diagnostics.iter().map(|one| (one.code, one.subject.document)).collect();
    assert_eq!(faults, [(Code::Syntax, 2)]);
    assert_eq!(reading.diagnostics[0].at, Some(crate::Position { line: 19, column: 4 }));
}

/// A dry run stays one when the rest is refused, unless the annotation itself is in doubt: then the policy counts.
#[test]
fn what_is_refused_is_a_dry_run_only_if_that_is_beyond_doubt() {
    for (from, to, dry_run) in [
        ("notNamespaces", "notNamespace", true),
        ("istio.io/dry-run: \"true\"", "istio.io/dry-run: \"maybe\"", false),
        ("istio.io/dry-run: \"true\"", "istio.io/dry-run: \"true\", istio.io/dry-run: \"false\"", false),
    ] {
        let Outcome::Refused { strictest: Object::AuthorizationPolicy(policy) } = one(&WHOLE.replace(from, to)) else {
            panic!("{to} is accepted");
        };
        assert_eq!(policy.dry_run, dry_run, "{to}");
    }
}

/// By the name a last good version is found, were the name what is wrong.
#[test]
fn what_is_refused_keeps_its_name() {
    for (from, to, name) in [
        ("name: web", "name: y", "y"),
        ("name: web", "name: web, labels: 1, nmae: x", "web"),
        ("name: web", "name: web, name: other", "web"),
        ("spec:", "spec: &anchor", "web"),
    ] {
        let reading = read(&WHOLE.replace(from, to), &ReadOptions::default());
        let [object] = &reading.objects[..] else { panic!("{to}: {reading:?}") };
        let Outcome::Refused { strictest } = &object.outcome else { panic!("{to} is accepted") };
        assert_eq!((object.id.namespace.as_str(), object.id.name.as_str()), ("shop", name), "{to}");
        assert_eq!(strictest.id(), object.id, "{to}");
    }
}

#[test]
fn objects_of_others_are_left_to_them_and_lists_are_opened() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: None}\n---\n# nothing\n---\n\
                {apiVersion: v1, kind: List, items: [{apiVersion: rbac.istio.io/v1alpha1, kind: ServiceRole, metadata: {name: a}, \
                spec: {rules: [{services: ['*']}]}}, {apiVersion: networking.istio.io/v1, kind: VirtualService}]}";
    let reading = read(text, &ReadOptions::default());
    let kinds: Vec<_> = reading.objects.iter().map(|object| (object.document, object.id.kind)).collect();
    assert_eq!(kinds, [(3, Kind::ServiceRole)]);
    assert!(matches!(reading.objects[0].outcome, Outcome::Accepted(_)), "{:?}", reading.diagnostics);
    assert_eq!(reading.diagnostics.iter().map(|one| one.code).collect::<Vec<_>>(), [Code::NotAPolicy; 2]);
    assert_eq!(reading.unidentified, 0);
}

#[test]
fn every_kind_is_found_by_its_group_and_versions() {
    for kind in Kind::ALL {
        for version in kind.versions() {
            let text = format!("apiVersion: {}/{version}\nkind: {kind}\nmetadata: {{name: default}}\n", kind.group());
            let reading = read(&text, &ReadOptions::default());
            assert_eq!(reading.objects.iter().map(|object| object.id.kind).collect::<Vec<_>>(), [*kind]);
            assert_eq!(reading.objects[0].id.namespace.is_empty(), kind.is_cluster_scoped());
            assert!(reading.diagnostics.iter().all(|one| one.code != Code::UnknownVersion), "{kind}");
        }
        let other = format!("apiVersion: {}/v9\nkind: {kind}\nmetadata: {{name: default}}\n", kind.group());
        assert!(read(&other, &ReadOptions::default()).diagnostics.iter().any(|one| one.code == Code::UnknownVersion));
    }
}

#[test]
fn a_fault_of_the_name_is_told_where_the_name_stands() {
    let text = "apiVersion: rbac.istio.io/v1alpha1\nkind: ClusterRbacConfig\nmetadata:\n  name: x\nspec: {mode: ON}\n";
    let told = read(text, &ReadOptions::default()).diagnostics.remove(0);
    assert_eq!((told.code, told.field.as_str()), (Code::RbacConfigName, "metadata.name"));
    assert_eq!(told.at, Some(crate::Position { line: 4, column: 9 }));
}

/// Names that are nearly right, by the ten thousand: what may be meant is not worked out for each.
#[test]
fn a_thousand_mistakes_cost_little_and_are_told_by_the_hundred() {
    let fields: String =
        (0..40_000).map(|number| format!("  rulesrulesrulesrulesrulesrulesrulesrulesrules{number}: 1\n")).collect();
    let text = format!("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: web}}\nspec:\n{fields}");
    let reading = read(&text, &ReadOptions::default());
    assert_eq!(reading.diagnostics.len(), 100);
    assert!(
        matches!(&reading.objects[0].outcome, Outcome::Refused { strictest: Object::AuthorizationPolicy(policy) } if policy.action == Action::Deny)
    );
}

/// `kubectl get` writes what was applied into an annotation: a text of any length, in any style.
#[test]
fn long_annotations_are_no_obstacle() {
    let long = "{\\\"apiVersion\\\":\\\"v1\\\",".repeat(2_000);
    for annotation in
        [format!("\"{long}\""), format!("'{long}'"), format!("|\n      {long}\n"), format!("\"{}\"", "a ".repeat(20_000))]
    {
        let text = format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: web\n  annotations:\n    \
             kubectl.kubernetes.io/last-applied-configuration: {annotation}\nspec: {{rules: [{{}}]}}\n"
        );
        assert_eq!(policy(&text).rules.len(), 1);
    }
    let json = format!(
        "{{\"apiVersion\": \"security.istio.io/v1\", \"kind\": \"AuthorizationPolicy\", \"metadata\": {{\"annotations\": \
         {{\"kubectl.kubernetes.io/last-applied-configuration\": \"{long}\"}}, \"name\": \"\\u0077eb\"}}}}"
    );
    assert_eq!(policy(&json).metadata.name, "web");
}

/// Pairs of surrogates, as JSON writes what lies beyond 16 bits (RFC 8259 section 7).
#[test]
fn json_writes_emoji_in_two_halves() {
    let json = "{\"apiVersion\": \"security.istio.io/v1\", \"kind\": \"AuthorizationPolicy\", \"metadata\": {\"name\": \"web\"}, \
                \"spec\": {\"rules\": [{\"to\": [{\"operation\": {\"hosts\": [\"\\ud83d\\ude00\"]}}]}]}}";
    assert_eq!(policy(json).rules[0].to[0].hosts.values, [pattern("\u{1f600}")]);
}
