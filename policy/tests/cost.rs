//! What a decision costs, printed: `cargo test --release -p policy --test cost -- --ignored --nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it measures, on Linux, and judges nothing"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::Instant;

use policy::compile::{PolicySet, Scratch, View, compile};
use policy::decision::{Reason, Verdict};
use policy::evaluation::Policies;
use policy::mesh::Mesh;
use policy::objects::{Action, AuthorizationPolicy, Labels, Match, Metadata, Operation, Rule, Scope, Source};
use policy::path::PathPattern;
use policy::pattern::Pattern;
use policy::request::{Connection, Peer, Request, Role, Target, Transport};

#[derive(Clone, Copy, Debug)]
enum Data {
    /// 20 policies in each namespace.
    Realistic,
    /// All in one namespace, with values of their own.
    Wide,
    /// All in one namespace, with one identity and one method, and nine of ten with a beginning of the path that is asked for.
    Hostile,
}

const PER_NAMESPACE: usize = 20;
const SIZES: [usize; 4] = [100, 1_000, 10_000, 100_000];
const QUESTIONS: usize = 1_000;

fn one<T>(value: T) -> Match<T> {
    Match { values: vec![value], not_values: Vec::new() }
}

fn namespace_of(data: Data, number: usize) -> String {
    match data {
        Data::Realistic => format!("ns-{}", number / PER_NAMESPACE),
        Data::Wide | Data::Hostile => "ns-0".to_owned(),
    }
}

fn principal_of(data: Data, number: usize) -> String {
    match data {
        Data::Realistic => format!("cluster.local/ns/ns-{}/sa/client-{}", number / PER_NAMESPACE, number % 5),
        Data::Wide => format!("cluster.local/ns/ns-0/sa/client-{number}"),
        Data::Hostile => "cluster.local/ns/ns-0/sa/client".to_owned(),
    }
}

fn method_of(data: Data, number: usize) -> &'static str {
    match data {
        Data::Realistic | Data::Wide => ["GET", "POST", "PUT"].get(number % 3).unwrap(),
        Data::Hostile => "GET",
    }
}

fn path_of(data: Data, number: usize) -> String {
    match data {
        Data::Realistic | Data::Wide => format!("/api/v1/service-{number}/"),
        Data::Hostile if number.is_multiple_of(10) => format!("/other/{number}/"),
        Data::Hostile => hostile_path().get(..1 + number % 4_000).unwrap().to_owned(),
    }
}

fn hostile_path() -> String {
    format!("/{}", "abcdefg-".repeat(500))
}

fn policies(data: Data, count: usize) -> Vec<AuthorizationPolicy> {
    let policy = |number| {
        let source = Source { principals: one(Pattern::of(&principal_of(data, number))), ..Source::default() };
        let operation = Operation {
            methods: one(Pattern::of(method_of(data, number))),
            paths: one(PathPattern::parse(&format!("{}*", path_of(data, number))).unwrap()),
            ..Operation::default()
        };
        // The hostile ones want a port that nobody asks for, so that none of them ends the search.
        let port = match data {
            Data::Hostile => one(1),
            Data::Realistic | Data::Wide => Match::default(),
        };
        let name = format!("policy-{number}");
        AuthorizationPolicy {
            metadata: Metadata { name, namespace: namespace_of(data, number), ..Metadata::default() },
            scope: Scope::Namespace,
            action: if number % 10 == 9 { Action::Deny } else { Action::Allow },
            rules: vec![Rule { from: vec![source], to: vec![Operation { ports: port, ..operation }], when: Vec::new() }],
            dry_run: false,
        }
    };
    (0..count).map(policy).collect()
}

/// The pages that the process holds, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

fn target<'a>(namespace: &'a str, labels: &'a Labels) -> Target<'a> {
    Target { namespace, labels, role: Role::Sidecar, ..Target::default() }
}

fn decisions(data: Data, count: usize, set: &PolicySet) {
    let labels = Labels::new();
    // Spread over the policies; one in four is asked of another's path.
    let reach = if matches!(data, Data::Realistic) { count.min(10 * PER_NAMESPACE) } else { count };
    let numbers: Vec<usize> = (0..QUESTIONS).map(|at| at * 7_919 % reach).collect();
    // A proxy has the views of the workloads behind it: here those of few namespaces.
    let namespaces: Vec<String> = numbers.iter().map(|number| namespace_of(data, *number)).collect();
    let distinct: BTreeSet<&String> = namespaces.iter().collect();
    let views: BTreeMap<&str, View> =
        distinct.into_iter().map(|namespace| (namespace.as_str(), set.view(&target(namespace, &labels)))).collect();
    let paths: Vec<String> = numbers
        .iter()
        .enumerate()
        .map(|(at, number)| match data {
            Data::Hostile => hostile_path(),
            Data::Realistic | Data::Wide => format!("{}item", path_of(data, if at % 4 == 3 { count } else { *number })),
        })
        .collect();
    let connections: Vec<Connection<'_>> = numbers
        .iter()
        .map(|number| Connection {
            source_ip: "10.0.0.1".parse().ok(),
            destination_port: Some(8_080),
            transport: Transport::Tls,
            peer: Peer::of_uri_names(&[format!("spiffe://{}", principal_of(data, *number)).as_bytes()]),
            ..Connection::default()
        })
        .collect();
    let requests: Vec<Request<'_>> = numbers
        .iter()
        .zip(&paths)
        .map(|(number, path)| Request {
            method: Some(method_of(data, *number).as_bytes()),
            path: Some(path.as_bytes()),
            ..Request::default()
        })
        .collect();
    let rounds = if matches!(data, Data::Hostile) { 1 } else { 200 };
    let asked = || {
        connections
            .iter()
            .zip(&requests)
            .zip(&namespaces)
            .map(|((connection, request), namespace)| (views.get(namespace.as_str()).unwrap(), connection, request))
    };
    let mut scratch = Scratch::default();
    let (mut allowed, mut denied) = (0, 0);
    for (view, connection, request) in asked() {
        let decision = policy::compile::evaluate(view, connection, Some(request), &mut scratch);
        allowed += usize::from(decision.verdict == Verdict::Allow);
        denied += usize::from(decision.reason == Reason::DenyMatched);
    }
    let start = Instant::now();
    for _ in 0..rounds {
        for (view, connection, request) in asked() {
            black_box(policy::compile::evaluate(black_box(view), connection, Some(request), &mut scratch));
        }
    }
    let whole = start.elapsed() / rounds;
    let accepted: Vec<_> = asked().map(|(view, connection, request)| (view.accept(connection), request)).collect();
    let start = Instant::now();
    for _ in 0..rounds {
        for (accepted, request) in &accepted {
            black_box(black_box(accepted).decide(Some(request), &mut scratch));
        }
    }
    let request_alone = start.elapsed() / rounds;
    let each = |duration: std::time::Duration| duration.as_nanos() / u128::try_from(QUESTIONS).unwrap();
    println!(
        "  decision {:>8} ns, on an accepted connection {:>8} ns ({allowed} allowed, {denied} denied by a rule, of {QUESTIONS}); {:?}",
        each(whole),
        each(request_alone),
        views.values().next().unwrap().size(),
    );
}

#[test]
#[ignore = "it prints figures and judges nothing"]
fn what_a_decision_costs() {
    let labels = Labels::new();
    let mesh = Mesh::default();
    // Nothing is given back before the end, so that what is resident grows by what is made.
    let mut kept = Vec::new();
    for data in [Data::Realistic, Data::Wide, Data::Hostile] {
        for count in SIZES.into_iter().filter(|count| !matches!(data, Data::Hostile) || *count <= 10_000) {
            let objects = policies(data, count);
            let namespaces: BTreeSet<String> = (0..count).map(|number| namespace_of(data, number)).collect();
            let before = resident();
            let start = Instant::now();
            let set = compile(Policies { authorization: &objects, ..Policies::default() }, &mesh);
            let compiled = start.elapsed();
            let views: Vec<View> = namespaces.iter().map(|namespace| set.view(&target(namespace, &labels))).collect();
            let viewed = start.elapsed();
            let grown = resident().saturating_sub(before) / 1_024;
            let start = Instant::now();
            let changed = set.with_policy(objects.last().unwrap());
            let view = changed.view(&target(&objects.last().unwrap().metadata.namespace, &labels));
            let change = start.elapsed();
            println!(
                "{data:?} {count}: objects compiled in {compiled:?}, with {} views in {viewed:?}, {grown} KiB; one changed, with its view, in {change:?}",
                views.len()
            );
            decisions(data, count, &set);
            kept.push((objects, set, views, view));
        }
    }
}
