//! What the command line promises: every verb has an example, names are checked, options that need each other say so.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::*;

fn refused(line: &str) -> ErrorKind {
    Cli::try_parse_from(line.split_whitespace()).map(drop).unwrap_err().kind()
}

fn parsed(line: &str) -> Command {
    Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}")).command
}

fn each_verb(command: &clap::Command, path: &str, visit: &mut dyn FnMut(&str, &clap::Command)) {
    visit(path, command);
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        each_verb(verb, &format!("{path} {}", verb.get_name()), visit);
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_has_an_example_and_a_one_line_story() {
    let mut seen = 0;
    each_verb(&Cli::command(), "signet", &mut |path, command| {
        seen += 1;
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Example"), "{path} has no example");
        let root = path.split_whitespace().next().unwrap();
        assert!(help.contains(root), "{path}: its example does not name the program");
        assert!(command.get_about().is_some(), "{path} says nothing about itself");
    });
    assert!(seen >= 30, "only {seen} verbs seen");
}

#[test]
fn every_example_of_the_program_parses() {
    let mut tried = 0;
    each_verb(&Cli::command(), "signet", &mut |path, command| {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default().replace("\\\n", " ");
        for line in help.lines().map(str::trim).filter(|line| line.starts_with("signet ")) {
            // Beyond two spaces in a row, `>` or `$(`, the line is for the shell or the reader.
            let line = line.replace("$(pidof envoy)", "4711");
            let line = line.split(" > ").next().unwrap();
            let words: Vec<_> = match line.split_once("   ") {
                Some((words, _)) if path == "signet" || path == "signet dev" => words.split_whitespace().collect(),
                _ => line.split_whitespace().collect(),
            };
            tried += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{path}: {words:?}: {error}");
            }
        }
    });
    assert!(tried >= 30, "only {tried} examples tried");
}

#[test]
fn names_are_checked_while_parsing() {
    let good = "signet entry create --spiffe-id spiffe://t/web --selector unix:uid:0 --node n1 --ttl 1h --dns a.example";
    assert!(matches!(parsed(good), Command::Entry(EntryVerb::Create(_))));
    for (from, to) in [
        ("spiffe://t/web", "spiffe://t/web/"),
        ("unix:uid:0", "unix:uid:root"),
        ("--node n1", "--node a/b"),
        ("--ttl 1h", "--ttl 0s"),
        ("--ttl 1h", "--ttl 500ms"),
        ("--dns a.example", "--dns a..example"),
    ] {
        assert_eq!(refused(&good.replace(from, to)), ErrorKind::ValueValidation, "{to}");
    }
    assert_eq!(refused("signet entry explain --pid 0"), ErrorKind::ValueValidation);
}

#[test]
fn an_entry_has_one_parent_and_an_explanation_one_process() {
    let entry = "signet entry create --spiffe-id spiffe://t/web --selector unix:uid:0";
    assert_eq!(refused(entry), ErrorKind::MissingRequiredArgument);
    assert_eq!(refused(&format!("{entry} --node n1 --alias a")), ErrorKind::ArgumentConflict);
    assert!(matches!(parsed(&format!("{entry} --alias a")), Command::Entry(EntryVerb::Create(_))));
    assert_eq!(refused("signet entry explain"), ErrorKind::MissingRequiredArgument);
    assert_eq!(refused("signet entry explain --pid 1 --selector unix:uid:0"), ErrorKind::ArgumentConflict);
    assert!(matches!(parsed("signet entry explain --selector unix:uid:0"), Command::Entry(EntryVerb::Explain(_))));
    for bad in ["e1", "e1=uid:0", "=", "unix:uid:0"] {
        assert_eq!(refused(&format!("signet entry explain --pid 1 --add-selector {bad}")), ErrorKind::ValueValidation, "{bad}");
    }
}

#[test]
fn an_update_changes_something_and_an_end_is_a_time_a_span_or_none() {
    assert_eq!(refused("signet entry update e1"), ErrorKind::MissingRequiredArgument);
    assert_eq!(refused("signet entry update e1 --dns a.example --no-dns"), ErrorKind::ArgumentConflict);
    let expires = |text: &str| {
        let command = parsed(&format!("signet entry update e1 --expires {text}"));
        let Command::Entry(EntryVerb::Update(args)) = command else { panic!("{command:?}") };
        args.expires
    };
    assert_eq!(expires("never"), Some(EndChange::Never));
    assert_eq!(expires("24h"), Some(EndChange::To(End::In(Duration::from_secs(86_400)))));
    let at = pki::Timestamp::from_unix_seconds(1_795_172_400);
    assert_eq!(expires("2026-11-20T11:00:00Z"), Some(EndChange::To(End::At(at))));
    for bad in ["tomorrow", "2026-11-20", "2026-11-20T11:00:00+01:00", "0s"] {
        assert_eq!(refused(&format!("signet entry update e1 --expires {bad}")), ErrorKind::ValueValidation, "{bad}");
    }
    // A new entry without an end names none.
    let made = "signet entry create --spiffe-id spiffe://t/web --selector unix:uid:0 --node n1 --expires never";
    assert_eq!(refused(made), ErrorKind::ValueValidation);
}

#[test]
fn a_listener_without_named_peers_is_refused() {
    let inbound = "signet envoy bootstrap --id spiffe://t/a --listen 127.0.0.1:1 --upstream 127.0.0.1:2";
    assert_eq!(refused(inbound), ErrorKind::MissingRequiredArgument);
    parsed(&format!("{inbound} --client-id spiffe://t/b"));
    let outbound = "signet envoy bootstrap --id default --outbound-listen 127.0.0.1:1 --outbound-upstream api.example:2";
    assert_eq!(refused(outbound), ErrorKind::MissingRequiredArgument);
    parsed(&format!("{outbound} --server-id spiffe://t/b"));
    assert_eq!(refused("signet envoy bootstrap --id default --client-id spiffe://t/b"), ErrorKind::MissingRequiredArgument);
}

#[test]
fn what_only_this_machine_may_reach_listens_on_loopback() {
    assert_eq!(refused("signet envoy bootstrap --id default --admin 0.0.0.0:9901"), ErrorKind::ValueValidation);
    parsed("signet envoy bootstrap --id default --admin 127.0.0.1:9901");
    let outbound = "signet envoy bootstrap --id default --outbound-upstream a.example:2 --server-id spiffe://t/b";
    assert_eq!(refused(&format!("{outbound} --outbound-listen 0.0.0.0:1")), ErrorKind::ValueValidation);
    parsed(&format!("{outbound} --outbound-listen [::1]:1"));
}

#[test]
fn no_secret_can_stand_in_the_arguments() {
    assert_eq!(refused("signet agent run --join-token 00112233445566778899aabbccddeeff"), ErrorKind::UnknownArgument);
    parsed("signet agent run --join-token-file -");
}

#[test]
fn output_form_may_stand_anywhere() {
    for line in ["signet -o json status", "signet status -o json", "signet node list --output json"] {
        assert_eq!(Cli::try_parse_from(line.split_whitespace()).unwrap().output, OutputFormat::Json, "{line}");
    }
    assert_eq!(refused("signet status -o xml"), ErrorKind::InvalidValue);
}

#[test]
fn a_loss_is_named_and_forced_or_not_taken() {
    for verb in ["authority activate root-2", "authority revoke root-1", "drill root", "drill issuer --natural"] {
        let line = format!("signet {verb}");
        parsed(&line);
        assert_eq!(refused(&format!("{line} --force")), ErrorKind::MissingRequiredArgument, "{verb}");
        for loss in ["--accept-node n1", "--accept-leaves 3", "--accept-tokens", "--accept-files"] {
            assert_eq!(refused(&format!("{line} {loss}")), ErrorKind::MissingRequiredArgument, "{verb} {loss}");
            parsed(&format!("{line} --force {loss}"));
        }
        parsed(&format!("{line} --force --accept-node n1 --accept-node n2 --accept-leaves 3 --accept-tokens --accept-files"));
    }
    assert_eq!(refused("signet drill root --force --accept-node a/b"), ErrorKind::ValueValidation);
}

#[test]
fn authorities_are_named_as_they_are_shown_and_drills_do_one_thing() {
    parsed("signet authority taint root-1");
    for bad in ["root", "root-0", "root-01", "leaf-1", "Root-1"] {
        assert_eq!(refused(&format!("signet authority taint {bad}")), ErrorKind::ValueValidation, "{bad}");
    }
    for kind in ["root", "issuer", "jwt"] {
        parsed(&format!("signet authority prepare {kind}"));
        parsed(&format!("signet drill {kind} --dry-run --natural"));
    }
    assert_eq!(refused("signet authority prepare leaf"), ErrorKind::ValueValidation);
    for both in
        ["--dry-run --abort", "--attach --abort", "--dry-run --attach", "--abort --natural", "--abort --force --accept-files"]
    {
        assert_eq!(refused(&format!("signet drill root {both}")), ErrorKind::ArgumentConflict, "{both}");
    }
}

#[test]
fn a_revocation_names_one_thing_and_a_reason_goes_with_it() {
    for what in ["--serial 01ab", "--spiffe-id spiffe://t/web", "--node n1", "--entry e1"] {
        parsed(&format!("signet revoke {what} --reason key-compromise --dry-run"));
    }
    assert_eq!(refused("signet revoke"), ErrorKind::MissingRequiredArgument);
    assert_eq!(refused("signet revoke --reason superseded"), ErrorKind::MissingRequiredArgument);
    assert_eq!(refused("signet revoke --node n1 --spiffe-id spiffe://t/web"), ErrorKind::ArgumentConflict);
    for bad in ["--serial xyz", "--spiffe-id web", "--node a/b"] {
        assert_eq!(refused(&format!("signet revoke {bad}")), ErrorKind::ValueValidation, "{bad}");
    }
    assert_eq!(refused("signet revoke --node n1 --reason because"), ErrorKind::InvalidValue);
    // What is revoked stays so: there is no way back for a serial number.
    assert_eq!(refused("signet unrevoke --serial 01ab"), ErrorKind::UnknownArgument);
    assert_eq!(refused("signet unrevoke"), ErrorKind::MissingRequiredArgument);
    assert_eq!(refused("signet entry delete e1 --reason superseded"), ErrorKind::MissingRequiredArgument);
    parsed("signet entry delete e1 --revoke --reason superseded");
}
