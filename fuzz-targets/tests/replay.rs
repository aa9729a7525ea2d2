//! The corpora that fuzzing left, run through the same functions without libFuzzer: every commit keeps what was found.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test: it fails by them, and says where it was"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ca::config::CaConfig;
use ca::records::RenewalGrounds;
use ca::rpc::entry_wire::{EntryLimits, new_entry};
use fuzz_targets::{LIST_ISSUER, NOW, TARGETS, TRUST_DOMAIN, list_of};
use identity::{NodeName, TrustDomain};
use node_agent::config::AgentConfig;
use node_agent::entry::Entry;
use pki::{
    JsonWebKeys, RevocationList, Timestamp, TrustBundle, VerifiedRequest, certificates_from_pem, request_from_pem,
    validate_jwt_svid,
};
use prost::Message;

/// All corpora together, in bytes.
const MAX_CORPUS_BYTES: u64 = 1 << 20;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Every input of the target's corpus, and every beginning of it: a message may break off anywhere.
fn replay(name: &str) {
    let run = fuzz_targets::target(name).run;
    let folder = fuzz().join("corpus").join(name);
    let inputs = names(&folder);
    assert!(inputs.len() >= 3, "{} holds too little to say anything", folder.display());
    for input in inputs {
        let bytes = std::fs::read(folder.join(&input)).unwrap();
        println!("{name}/{input}: {} bytes", bytes.len());
        run(&bytes);
        for length in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
            run(bytes.get(..length).unwrap());
        }
    }
}

macro_rules! replayed {
    ($($name:ident),*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

replayed!(
    answer,
    attest,
    cgroup,
    config,
    crl,
    csr,
    foreign_bundle,
    hello,
    jwks,
    jwt,
    ledger,
    objects,
    pem,
    policy,
    sds,
    spiffe_id,
    svid_verify,
    sync,
    vault
);

#[test]
fn every_target_has_a_binary_a_corpus_and_a_replay() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(REPLAYED.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), targets);
    assert_eq!(names(&fuzz().join("corpus")), targets);
    let binaries: BTreeSet<_> = targets.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&fuzz().join("fuzz_targets")), binaries);
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in &targets {
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")), "{name} is no binary");
    }
}

/// The seeds are where fuzzing begins: were they refused, it would begin at the door.
#[test]
fn the_good_seeds_are_accepted() {
    let seed = |target: &str, name: &str| std::fs::read(fuzz().join("corpus").join(target).join(format!("seed-{name}"))).unwrap();
    let text = |target: &str, name: &str| String::from_utf8(seed(target, name)[1..].to_vec()).unwrap();
    let domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
    for key in ["p256", "p384", "rsa", "ed25519"] {
        assert!(VerifiedRequest::parse(&seed("csr", key)[1..]).unwrap().asks_for_names(), "{key}");
    }
    assert_eq!(certificates_from_pem(&seed("pem", "raw")[1..]).unwrap().len(), 3);
    assert!(request_from_pem(&seed("pem", "request")[1..]).is_ok());
    let bundle = TrustBundle::from_jwks(domain.clone(), &seed("jwks", "all")).unwrap();
    assert_eq!((bundle.authorities().len(), bundle.jwt_authorities().len()), (1, 1));
    assert_eq!(JsonWebKeys::parse(&seed("jwks", "issuer")).unwrap().skipped().len(), 3);
    let documents = seed("foreign_bundle", "newer");
    let sequences =
        documents.split(|byte| *byte == b'\n').map(|json| TrustBundle::from_jwks(domain.clone(), json).unwrap().sequence());
    assert_eq!(sequences.collect::<Vec<_>>(), [7, 8]);
    let now = Timestamp::from_unix_seconds(NOW);
    assert!(validate_jwt_svid(&text("jwt", "token"), &"db".parse().unwrap(), &bundle, now).is_ok());
    CaConfig::parse("ca.toml", &text("config", "ca")).unwrap();
    CaConfig::parse("ca.toml", &text("config", "ca-small")).unwrap();
    AgentConfig::parse("agent.toml", &text("config", "agent")).unwrap();
    RenewalGrounds::from_json(std::str::from_utf8(&seed("ledger", "grounds")).unwrap()).unwrap();
    let hello = proto::v1::Hello::decode(&seed("hello", "plain")[1..]).unwrap();
    assert!(ca::rpc::hello::check(Some(hello.clone()), &domain, now).is_ok());
    assert!(node_agent::ca_client::wire::check_hello(Some(hello)).is_ok());
    let create = proto::v1::CreateEntryRequest::decode(&seed("sync", "create")[1..]).unwrap();
    let limits = EntryLimits { trust_domain: domain.clone(), max_ttl: Duration::from_secs(3600) };
    assert_eq!(new_entry(create, &limits, now).unwrap().selectors.len(), 2);
    let issuer = &*LIST_ISSUER;
    let list = list_of(&seed("crl", "named")[1..]);
    assert_eq!(RevocationList::verify(&list, issuer.certificate.der(), &issuer.bundle).unwrap().len(), 3);
    let entry = proto::v1::Entry::decode(&seed("attest", "entry")[1..]).unwrap();
    let signed = ::vault::answer::SignedCertificate::parse(&seed("vault", "signed")[1..]).unwrap();
    assert_eq!((signed.chain().len(), signed.roots().len()), (2, 1));
    assert!(::vault::answer::Login::parse(&seed("vault", "login")[1..]).is_ok());
    Entry::from_wire(entry, &domain, &NodeName::parse("n1").unwrap()).unwrap();
}

#[test]
fn the_corpora_stay_small() {
    let corpus = fuzz().join("corpus");
    let sizes = names(&corpus).into_iter().flat_map(|target| {
        let folder = corpus.join(target);
        names(&folder).into_iter().map(move |input| std::fs::metadata(folder.join(input)).unwrap().len())
    });
    let total: u64 = sizes.sum();
    assert!(total < MAX_CORPUS_BYTES, "the corpora have {total} bytes");
}
