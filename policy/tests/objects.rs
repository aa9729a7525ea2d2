//! Every field of every kind lands where it belongs, and no text makes the reader stumble.

#![expect(clippy::panic, clippy::unwrap_used, reason = "this is a test: it fails by them")]

use std::collections::BTreeMap;

use policy::Severity;
use policy::objects::{
    AccessRule, AuthnPolicy, BindingSubject, ClaimOutput, ClientTls, ClientTlsMode, Constraint, DestinationRule, Enforcement,
    ExportTo, JwtRule, KeySource, Kind, Labels, Metadata, MtlsMode, Object, OriginJwt, Outcome, PeerAuthentication, PeerMethod,
    PolicyTarget, PrincipalBinding, Property, RbacConfig, RbacMode, RbacTarget, ReadOptions, Reading, RequestAuthentication,
    Scope, ServicePort, ServiceRole, ServiceRoleBinding, StringMatch, Subset, TargetKind, TargetRef, Timestamp, TokenHeader,
    Tokens, TrafficPolicy, TriggerRule, read,
};
use policy::pattern::{AddressRange, Pattern};
use proptest::prelude::*;

fn metadata(kind: Kind) -> Metadata {
    let namespace = if kind.is_cluster_scoped() { "" } else { "shop" };
    Metadata {
        name: "default".to_owned(),
        namespace: namespace.to_owned(),
        created: Some(Timestamp(1_552_989_600)),
        dry_run: None,
    }
}

/// Reads a `spec`, which is accepted.
fn object(kind: Kind, spec: &str) -> Object {
    let namespace = if kind.is_cluster_scoped() { "" } else { ", namespace: shop" };
    let text = format!(
        "apiVersion: {}/{}\nkind: {kind}\nmetadata: {{name: default{namespace}, creationTimestamp: 2019-03-19T10:00:00Z}}\nspec: {spec}\n",
        kind.group(),
        kind.versions()[0]
    );
    let mut reading = read(&text, &ReadOptions::default());
    match reading.objects.pop().map(|object| object.outcome) {
        Some(Outcome::Accepted(object)) => object,
        Some(Outcome::Refused { .. }) | None => panic!("{:?}", reading.diagnostics),
    }
}

fn labels(key: &str, value: &str) -> Labels {
    Labels::from([(key.to_owned(), value.to_owned())])
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

fn patterns<const N: usize>(texts: [&str; N]) -> Vec<Pattern> {
    texts.map(pattern).to_vec()
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

#[test]
fn peer_authentication() {
    let spec = "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {80: {mode: DISABLE}, 81: {mode: PERMISSIVE}, 82: {}}}";
    let wanted = PeerAuthentication {
        metadata: metadata(Kind::PeerAuthentication),
        selector: Some(labels("app", "web")),
        mode: MtlsMode::Strict,
        port_level: BTreeMap::from([(80, MtlsMode::Disable), (81, MtlsMode::Permissive), (82, MtlsMode::Unset)]),
    };
    assert_eq!(object(Kind::PeerAuthentication, spec), Object::PeerAuthentication(wanted));
}

#[test]
fn request_authentication() {
    let spec = "{targetRefs: [{kind: Service, name: web}], jwtRules: [{issuer: i, audiences: [a, b], jwksUri: 'https://k', \
                fromHeaders: [{name: x-a, prefix: 'P '}], fromParams: [p], fromCookies: [c], outputPayloadToHeader: x-p, \
                forwardOriginalToken: true, outputClaimToHeaders: [{header: x-c, claim: sub}], timeout: 1.5s, \
                spaceDelimitedClaims: [r]}, {issuer: j}]}";
    let first = JwtRule {
        issuer: "i".to_owned(),
        audiences: texts(["a", "b"]),
        keys: KeySource::Uri("https://k".to_owned()),
        from_headers: vec![TokenHeader { name: "x-a".to_owned(), prefix: "P ".to_owned() }],
        from_params: texts(["p"]),
        from_cookies: texts(["c"]),
        output_payload_to_header: "x-p".to_owned(),
        forward_original_token: true,
        output_claims: vec![ClaimOutput { header: "x-c".to_owned(), claim: "sub".to_owned() }],
        timeout_millis: 1_500,
        space_delimited_claims: texts(["r"]),
    };
    let second = JwtRule { issuer: "j".to_owned(), timeout_millis: 5_000, ..JwtRule::default() };
    let wanted = RequestAuthentication {
        metadata: metadata(Kind::RequestAuthentication),
        scope: Scope::Targets(vec![TargetRef { kind: TargetKind::Service, name: "web".to_owned() }]),
        tokens: Tokens::Rules(vec![first, second]),
    };
    assert_eq!(object(Kind::RequestAuthentication, spec), Object::RequestAuthentication(wanted));
}

#[test]
fn policy_and_mesh_policy() {
    let methods = "peers: [{mtls: ~}, {mtls: {mode: PERMISSIVE}}, {jwt: {issuer: p, jwksUri: 'https://p'}}], peerIsOptional: true, \
                   origins: [{jwt: {issuer: o, audiences: [a], jwksUri: 'http://o', jwtHeaders: [x-a], jwtParams: [t], triggerRules: \
                   [{excludedPaths: [{exact: /e}, {prefix: /p}], includedPaths: [{suffix: s}, {regex: r.*}]}]}}], principalBinding: USE_ORIGIN";
    let token = |issuer: &str, keys: &str| OriginJwt {
        issuer: issuer.to_owned(),
        keys: KeySource::Uri(keys.to_owned()),
        ..OriginJwt::default()
    };
    let trigger = TriggerRule {
        excluded: vec![StringMatch::Exact("/e".to_owned()), StringMatch::Prefix("/p".to_owned())],
        included: vec![StringMatch::Suffix("s".to_owned()), StringMatch::Regex("r.*".to_owned())],
    };
    let origin = OriginJwt {
        audiences: texts(["a"]),
        headers: texts(["x-a"]),
        params: texts(["t"]),
        triggers: vec![trigger],
        ..token("o", "http://o")
    };
    let mesh = AuthnPolicy {
        metadata: metadata(Kind::MeshPolicy),
        targets: Vec::new(),
        peers: vec![
            PeerMethod::Mtls { permissive: false },
            PeerMethod::Mtls { permissive: true },
            PeerMethod::Jwt(token("p", "https://p")),
        ],
        peer_is_optional: true,
        origins: Tokens::Rules(vec![origin]),
        origin_is_optional: false,
        binding: PrincipalBinding::UseOrigin,
    };
    assert_eq!(object(Kind::MeshPolicy, &format!("{{{methods}}}")), Object::MeshPolicy(mesh.clone()));
    let namespaced = AuthnPolicy { metadata: metadata(Kind::Policy), ..mesh };
    assert_eq!(object(Kind::Policy, &format!("{{{methods}}}")), Object::Policy(namespaced));

    let text = "apiVersion: authentication.istio.io/v1alpha1\nkind: Policy\nmetadata: {name: web}\n\
                spec: {targets: [{name: web, ports: [{number: 80}, {name: http}]}, {name: api}], originIsOptional: true}\n";
    let Outcome::Accepted(Object::Policy(policy)) = read(text, &ReadOptions::default()).objects.remove(0).outcome else {
        panic!("it is refused");
    };
    let ports = vec![ServicePort::Number(80), ServicePort::Name("http".to_owned())];
    let targets =
        vec![PolicyTarget { name: "web".to_owned(), ports }, PolicyTarget { name: "api".to_owned(), ports: Vec::new() }];
    assert_eq!((policy.targets, policy.origin_is_optional, policy.peer_is_optional), (targets, true, false));
}

#[test]
fn rbac_configs() {
    let target = RbacTarget { services: texts(["a.b.svc"]), namespaces: texts(["c"]) };
    let lists = "inclusion: {services: [a.b.svc], namespaces: [c]}, exclusion: {namespaces: [d]}";
    let excluded = RbacTarget { services: Vec::new(), namespaces: texts(["d"]) };
    for (mode, wanted) in [
        ("OFF", RbacMode::Off),
        ("ON", RbacMode::On),
        ("ON_WITH_INCLUSION", RbacMode::OnWithInclusion(target)),
        ("ON_WITH_EXCLUSION", RbacMode::OnWithExclusion(excluded)),
    ] {
        for (word, enforcement) in [("ENFORCED", Enforcement::Enforced), ("PERMISSIVE", Enforcement::Permissive)] {
            let spec = format!("{{mode: {mode}, enforcementMode: {word}, {lists}}}");
            let config = |kind| RbacConfig { metadata: metadata(kind), mode: wanted.clone(), enforcement };
            let cluster = config(Kind::ClusterRbacConfig);
            assert_eq!(object(Kind::ClusterRbacConfig, &spec), Object::ClusterRbacConfig(cluster));
            assert_eq!(object(Kind::RbacConfig, &spec), Object::RbacConfig(config(Kind::RbacConfig)));
        }
    }
}

#[test]
fn service_role() {
    let spec = "{rules: [{services: [a, 'b*'], methods: [GET], paths: ['*/c'], constraints: [{key: destination.ip, values: [10.0.0.0/8]}, \
                {key: destination.port, values: ['80']}, {key: 'destination.labels[v]', values: [v1]}, {key: destination.name, values: ['n']}, \
                {key: destination.namespace, values: [s]}, {key: destination.user, values: [u]}, {key: 'request.headers[h]', values: [x, 'y']}, \
                {key: connection.sni, values: [z]}, {key: 'experimental.envoy.filters.f.g[k]', values: ['[w]']}]}]}";
    let rule = AccessRule {
        services: patterns(["a", "b*"]),
        methods: patterns(["GET"]),
        paths: patterns(["*/c"]),
        constraints: vec![
            Constraint::DestinationIp(vec![AddressRange::parse("10.0.0.0/8").unwrap()]),
            Constraint::DestinationPort(vec![80]),
            Constraint::DestinationLabel { label: "v".to_owned(), values: patterns(["v1"]) },
            Constraint::DestinationName(patterns(["n"])),
            Constraint::DestinationNamespace(patterns(["s"])),
            Constraint::DestinationUser(patterns(["u"])),
            Constraint::Header { name: "h".to_owned(), values: patterns(["x", "y"]) },
            Constraint::Sni(patterns(["z"])),
            Constraint::EnvoyMetadata { filter: "f.g".to_owned(), key: "k".to_owned(), values: patterns(["[w]"]) },
        ],
    };
    let http: Vec<bool> = rule.constraints.iter().map(Constraint::is_http_only).collect();
    assert_eq!(http, [false, false, false, false, false, false, true, false, false]);
    let wanted = ServiceRole { metadata: metadata(Kind::ServiceRole), rules: vec![rule] };
    assert_eq!(object(Kind::ServiceRole, spec), Object::ServiceRole(wanted));
}

#[test]
fn service_role_binding() {
    let spec = "{subjects: [{user: u, properties: {source.ip: '::1', source.namespace: 'n', source.user: s, request.auth.principal: p, \
                request.auth.audiences: a, request.auth.presenter: r, 'request.auth.claims[c]': d, 'request.headers[h]': e}}, \
                {group: g}, {properties: {source.principal: '*'}}], roleRef: {kind: ServiceRole, name: reader}, mode: PERMISSIVE}";
    let first = BindingSubject {
        user: Some(pattern("u")),
        group: None,
        properties: vec![
            Property::SourceIp(AddressRange::parse("::1").unwrap()),
            Property::SourceNamespace(pattern("n")),
            Property::SourceUser(pattern("s")),
            Property::RequestPrincipal(pattern("p")),
            Property::RequestAudience(pattern("a")),
            Property::RequestPresenter(pattern("r")),
            Property::RequestClaim { name: "c".to_owned(), value: pattern("d") },
            Property::Header { name: "h".to_owned(), value: pattern("e") },
        ],
    };
    let second = BindingSubject { group: Some(pattern("g")), ..BindingSubject::default() };
    let third = BindingSubject { properties: vec![Property::SourcePrincipal(Pattern::Present)], ..BindingSubject::default() };
    let wanted = ServiceRoleBinding {
        metadata: metadata(Kind::ServiceRoleBinding),
        subjects: vec![first, second, third],
        role: "reader".to_owned(),
        enforcement: Enforcement::Permissive,
    };
    assert_eq!(object(Kind::ServiceRoleBinding, spec), Object::ServiceRoleBinding(wanted));
}

#[test]
fn destination_rule() {
    let spec = "{host: '*.shop', workloadSelector: {matchLabels: {app: web}}, exportTo: [., '*', a], trafficPolicy: {tls: {mode: MUTUAL, \
                clientCertificate: c, privateKey: k, caCertificates: a, subjectAltNames: ['n'], sni: s}, portLevelSettings: \
                [{port: {number: 80}, loadBalancer: {}}, {port: {number: 81}, tls: {mode: SIMPLE, credentialName: x}}]}, \
                subsets: [{name: v1, labels: {v: '1'}, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}, {name: v2, trafficPolicy: {tls: \
                {mode: SIMPLE, insecureSkipVerify: true}}}]}";
    let tls = |mode| ClientTls { mode, ..ClientTls::default() };
    let mutual = ClientTls {
        client_certificate: "c".to_owned(),
        private_key: "k".to_owned(),
        ca_certificates: "a".to_owned(),
        subject_alt_names: texts(["n"]),
        sni: "s".to_owned(),
        ..tls(ClientTlsMode::Mutual)
    };
    let simple = ClientTls { credential_name: "x".to_owned(), ..tls(ClientTlsMode::Simple) };
    let blind = ClientTls { insecure_skip_verify: true, ..tls(ClientTlsMode::Simple) };
    let policy = |tls| TrafficPolicy { tls: Some(tls), ports: BTreeMap::new() };
    let subset = |name: &str, labels, tls| Subset { name: name.to_owned(), labels, policy: policy(tls) };
    let wanted = DestinationRule {
        metadata: metadata(Kind::DestinationRule),
        host: "*.shop".to_owned(),
        workloads: Some(labels("app", "web")),
        // Row 34: a port entry without TLS takes the TLS of the host away.
        policy: TrafficPolicy { tls: Some(mutual), ports: BTreeMap::from([(80, None), (81, Some(simple))]) },
        subsets: vec![subset("v1", labels("v", "1"), tls(ClientTlsMode::IstioMutual)), subset("v2", Labels::new(), blind)],
        export_to: vec![ExportTo::Own, ExportTo::All, ExportTo::Namespace("a".to_owned())],
    };
    assert_eq!(object(Kind::DestinationRule, spec), Object::DestinationRule(wanted));
}

/// What holds of every reading.
fn check(reading: &Reading) -> Result<(), TestCaseError> {
    let worst: BTreeMap<usize, Severity> = reading.diagnostics.iter().fold(BTreeMap::new(), |mut worst, one| {
        let severity = worst.entry(one.subject.document).or_insert(one.severity);
        *severity = one.severity.max(*severity);
        worst
    });
    for object in &reading.objects {
        match &object.outcome {
            Outcome::Accepted(accepted) => prop_assert_eq!(&accepted.id(), &object.id),
            Outcome::Refused { strictest } => {
                prop_assert_eq!(&strictest.id(), &object.id);
                prop_assert!(worst.get(&object.document) >= Some(&Severity::Error));
            }
        }
    }
    prop_assert!(reading.unidentified == 0 || reading.diagnostics.iter().any(|one| one.severity >= Severity::Error));
    Ok(())
}

const CORPUS: [&str; 3] = [
    include_str!("data/validation.txt"),
    include_str!("data/validation-istio-1.1.txt"),
    include_str!("data/validation-documents.txt"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Specs of the corpus, under any kind, with a piece of one laid over a piece of another.
    #[test]
    fn no_spec_is_too_odd(kind in 0..Kind::ALL.len(), line in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(), length in 0_usize..12) {
        let lines: Vec<&str> = CORPUS.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix("  ")).collect();
        let mut spec: Vec<char> = lines[line.index(lines.len())].chars().take(400).collect();
        let piece: Vec<char> = lines[other.index(lines.len())].chars().skip(length).take(length).collect();
        let start = at.index(spec.len() + 1);
        let end = (start + length).min(spec.len());
        spec.splice(start..end, piece);
        let kind = Kind::ALL[kind];
        let spec: String = spec.into_iter().collect();
        let text = format!("apiVersion: {}/{}\nkind: {kind}\nmetadata: {{name: default}}\nspec:\n  {spec}\n", kind.group(), kind.versions()[0]);
        check(&read(&text, &ReadOptions::default()))?;
    }
}
