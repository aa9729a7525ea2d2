//! What clients speak to services, and what comes of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a table that cannot be read fails the test")]

use policy::authentication::PortProtocol;
use policy::client::{AutoMtls, Client, Destination, Meeting, ServerMode, SettingsLevel, client_mode, client_settings, meet};
use policy::mesh::Mesh;
use policy::objects::{AuthnPolicy, ClientTlsMode, DestinationRule, Labels, Object, Outcome, ReadOptions};

/// Reads rules of `name namespace [created]` and a spec.
fn rules(written: &[(&str, &str)]) -> Vec<DestinationRule> {
    let read = written.iter().map(|(head, spec)| {
        let words: Vec<&str> = head.split_whitespace().collect();
        let created = words.get(2).map(|year| format!("creationTimestamp: \"{year}-01-01T00:00:00Z\", ")).unwrap_or_default();
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{{created}name: {}, namespace: {}}}\nspec: {spec}\n",
            words[0], words[1]
        );
        let mut reading = policy::objects::read(&text, &ReadOptions::default());
        match reading.objects.pop().map(|object| object.outcome) {
            Some(Outcome::Accepted(Object::DestinationRule(rule))) => rule,
            other => panic!("{other:?} {:?}\n{text}", reading.diagnostics),
        }
    });
    read.collect()
}

fn labels(app: &str) -> Labels {
    [("app".to_owned(), app.to_owned())].into()
}

const WEB: Destination<'_> = Destination { host: "web.shop.svc.cluster.local", namespace: "shop", port: 80, subset: None };

/// The level, the mode and the rule of a call from `namespace`, as `level mode namespace/name`.
fn found(rules: &[DestinationRule], namespace: &str, app: &str, destination: Destination<'_>) -> String {
    let labels = labels(app);
    let settings = client_settings(rules, &Mesh::default(), Client { namespace, labels: &labels }, destination);
    let mode = settings.tls.map(|tls| format!("{:?}", tls.mode)).unwrap_or_default();
    let by = settings.by.map(|rule| format!("{}/{}", rule.metadata.namespace, rule.metadata.name)).unwrap_or_default();
    format!("{:?} {mode} {by}", settings.level)
}

#[test]
fn rules_are_looked_up_at_the_client_then_at_the_service_then_at_the_root() {
    let all = rules(&[
        ("root istio-system", "{host: '*.local', trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}"),
        ("web shop", "{host: web, trafficPolicy: {tls: {mode: SIMPLE}}}"),
        ("private shop", "{host: api, exportTo: ['.'], trafficPolicy: {tls: {mode: SIMPLE}}}"),
        ("some shop", "{host: db, exportTo: [friend], trafficPolicy: {tls: {mode: SIMPLE}}}"),
        ("web client", "{host: web.shop.svc.cluster.local, exportTo: ['.'], trafficPolicy: {tls: {mode: DISABLE}}}"),
        (
            "mine client",
            "{host: web.shop.svc.cluster.local, workloadSelector: {matchLabels: {app: x}}, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}",
        ),
        ("labelled shop", "{host: cache, workloadSelector: {matchLabels: {app: x}}, trafficPolicy: {tls: {mode: SIMPLE}}}"),
        ("web other", "{host: web, trafficPolicy: {tls: {mode: SIMPLE}}}"),
    ]);
    let cache = Destination { host: "cache.shop.svc.cluster.local", ..WEB };
    let api = Destination { host: "api.shop.svc.cluster.local", ..WEB };
    let db = Destination { host: "db.shop.svc.cluster.local", ..WEB };
    for (namespace, app, destination, expected) in [
        ("client", "x", WEB, "Host IstioMutual client/mine"),
        ("client", "y", WEB, "Host Disable client/web"),
        ("elsewhere", "x", WEB, "Host Simple shop/web"),
        ("shop", "x", WEB, "Host Simple shop/web"),
        ("other", "x", WEB, "Host Simple shop/web"),
        ("shop", "x", api, "Host Simple shop/private"),
        ("elsewhere", "x", api, "Host IstioMutual istio-system/root"),
        ("shop", "x", cache, "Host Simple shop/labelled"),
        ("shop", "y", cache, "Host IstioMutual istio-system/root"),
        ("elsewhere", "x", cache, "Host IstioMutual istio-system/root"),
        ("friend", "x", db, "Host Simple shop/some"),
        ("elsewhere", "x", db, "Host IstioMutual istio-system/root"),
        ("elsewhere", "x", Destination { host: "example.com", namespace: "", ..WEB }, "None  "),
    ] {
        assert_eq!(found(&all, namespace, app, destination), expected, "{namespace} {app} {}", destination.host);
    }
}

#[test]
fn the_host_that_fits_best_counts_and_the_oldest_rule_of_it() {
    let all = rules(&[
        ("any shop", "{host: '*', trafficPolicy: {tls: {mode: DISABLE}}}"),
        ("wide shop", "{host: '*.local', trafficPolicy: {tls: {mode: DISABLE}}}"),
        ("narrow shop", "{host: '*.shop.svc.cluster.local', trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}"),
        ("ageless shop", "{host: WEB.shop.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}"),
        ("young shop 2021", "{host: web, trafficPolicy: {tls: {mode: SIMPLE}}}"),
        ("old shop 2020", "{host: web, subsets: [{name: v1, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}]}"),
    ]);
    for (host, subset, expected) in [
        ("web.shop.svc.cluster.local", None, "Host Simple shop/young"),
        ("web.shop.svc.cluster.local", Some("v1"), "Subset IstioMutual shop/old"),
        ("web.shop.svc.cluster.local", Some("v2"), "Host Simple shop/young"),
        ("api.shop.svc.cluster.local", None, "Host IstioMutual shop/narrow"),
        ("api.foo.svc.cluster.local", None, "Host Disable shop/wide"),
        ("web.foo.svc.cluster.local", None, "Host Disable shop/wide"),
        ("example.com", None, "Host Disable shop/any"),
    ] {
        assert_eq!(found(&all, "shop", "x", Destination { host, subset, ..WEB }), expected, "{host} {subset:?}");
    }
}

/// Row 34 of the conformance table: what is said for a port takes the place of all that is said for the host.
#[test]
fn settings_of_a_port_take_the_place_of_others() {
    let all = rules(&[(
        "web shop",
        "{host: web, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{port: {number: 80}, loadBalancer: {}}, {port: {number: 81}, tls: {mode: SIMPLE}}]}, \
         subsets: [{name: v1, trafficPolicy: {tls: {mode: SIMPLE}, portLevelSettings: [{port: {number: 82}, connectionPool: {}}]}}, {name: v2, trafficPolicy: {loadBalancer: {}}}]}",
    )]);
    for (port, subset, expected) in [
        (79, None, "Host IstioMutual shop/web"),
        (80, None, "Port  shop/web"),
        (81, None, "Port Simple shop/web"),
        (80, Some("v1"), "Subset Simple shop/web"),
        (82, Some("v1"), "SubsetPort  shop/web"),
        (82, Some("v2"), "Host IstioMutual shop/web"),
        (80, Some("v2"), "Port  shop/web"),
    ] {
        assert_eq!(found(&all, "client", "x", Destination { port, subset, ..WEB }), expected, "{port} {subset:?}");
    }
    let labels = labels("x");
    let settings = client_settings(&all, &Mesh::default(), Client { namespace: "client", labels: &labels }, WEB);
    assert_eq!((settings.tls, settings.level), (None, SettingsLevel::Port));
    let mode = client_mode(&settings, AutoMtls::Off, ServerMode::Strict, true);
    assert_eq!(mode, ClientTlsMode::Disable);
    assert_eq!(meet(mode, ServerMode::Strict, PortProtocol::Http), Meeting::PlaintextRejected);
}

/// Row 35 of the conformance table, and what clients do of which no rule says anything.
#[test]
fn what_a_rule_says_wins_and_the_mesh_says_the_rest() {
    let simple = rules(&[("web shop", "{host: web, trafficPolicy: {tls: {mode: SIMPLE}}}")]);
    let labels = labels("x");
    let client = Client { namespace: "client", labels: &labels };
    let said = client_settings(&simple, &Mesh::default(), client, WEB);
    let unsaid = client_settings(&[], &Mesh::default(), client, WEB);
    let servers = [ServerMode::Plaintext, ServerMode::Permissive, ServerMode::Strict];
    for (auto, in_mesh, expected) in [
        (AutoMtls::Off, true, [ClientTlsMode::Disable; 3]),
        (AutoMtls::On, false, [ClientTlsMode::Disable; 3]),
        (AutoMtls::On, true, [ClientTlsMode::Disable, ClientTlsMode::IstioMutual, ClientTlsMode::IstioMutual]),
    ] {
        assert_eq!(servers.map(|server| client_mode(&unsaid, auto, server, in_mesh)), expected, "{auto:?} {in_mesh}");
        assert_eq!(servers.map(|server| client_mode(&said, auto, server, in_mesh)), [ClientTlsMode::Simple; 3]);
    }
    assert_eq!(meet(ClientTlsMode::Simple, ServerMode::Permissive, PortProtocol::Http), Meeting::ProtocolError);
}

#[test]
fn a_server_of_istio_1_1_takes_what_its_policy_says() {
    let policy = |peers: &str| -> AuthnPolicy {
        let text = format!(
            "apiVersion: authentication.istio.io/v1alpha1\nkind: Policy\nmetadata: {{name: default, namespace: a}}\nspec: {{peers: {peers}}}"
        );
        let mut reading = policy::objects::read(&text, &ReadOptions::default());
        match reading.objects.pop().map(|object| object.outcome) {
            Some(Outcome::Accepted(Object::Policy(policy))) => policy,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ServerMode::of_v1alpha1(None), ServerMode::Plaintext);
    for (peers, expected) in [
        ("[]", ServerMode::Plaintext),
        ("[{mtls: {}}]", ServerMode::Strict),
        ("[{mtls: null}]", ServerMode::Strict),
        ("[{mtls: {mode: PERMISSIVE}}]", ServerMode::Permissive),
        ("[{jwt: {issuer: i}}]", ServerMode::Plaintext),
        ("[{jwt: {issuer: i}}, {mtls: {}}]", ServerMode::Strict),
    ] {
        assert_eq!(ServerMode::of_v1alpha1(Some(&policy(peers))), expected, "{peers}");
    }
}
