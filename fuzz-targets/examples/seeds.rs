//! Makes `fixtures/` and the seeds of `fuzz/corpus` anew: `cargo run -p fuzz-targets --example seeds`. Keys of authorities are
//! forgotten, so new fixtures need new seeds; what fuzzing found lies beside the seeds and stays.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fuzz_targets::{JWT_KEY_PEM, LIST_ISSUER, NOW, TRUST_DOMAIN, csr_of};
use identity::{SpiffeId, TrustDomain};
use pki::checkpoint::{Checkpoint, CheckpointKey};
use pki::crl::{CrlNumber, CrlTemplate, RevocationReason, RevokedSerial, prepare_crl};
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, JwksContent, JwtKey, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey,
    ReplicaByte, SerialNumber, Timestamp, TrustBundle, build_request, certificates_to_pem, prepare_authority, prepare_leaf,
};
use prost::Message;
use proto::envoy::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use proto::v1;

type Outcome<T> = Result<T, Box<dyn Error>>;

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Authority {
    root: Certificate,
    issuer: Certificate,
    issuer_key: PrivateKey,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn seed(target: &str, name: &str, bytes: &[u8]) -> Outcome<()> {
    let folder: PathBuf = root().join("../fuzz/corpus").join(target);
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(folder.join(format!("seed-{name}")), bytes)?)
}

fn serial(number: u8) -> SerialNumber {
    SerialNumber::new(ReplicaByte::new(1).expect("1 is in range"), [number; pki::SERIAL_RANDOM_BYTES])
}

impl Authority {
    fn new(number: u8) -> Outcome<Self> {
        let (trust_domain, now) = (TrustDomain::parse(TRUST_DOMAIN)?, Timestamp::from_unix_seconds(NOW).minus(DAY));
        let (root_key, issuer_key) =
            (PrivateKey::generate(KeyAlgorithm::EcdsaP256)?, PrivateKey::generate(KeyAlgorithm::EcdsaP256)?);
        let mint = |role, key: &PrivateKey, serial, issuer: Option<&Certificate>| {
            let (trust_domain, public_key) = (&trust_domain, key.public_key());
            let spec = AuthoritySpec { role, trust_domain, public_key, lifetime: 3650 * DAY, serial, now };
            Ok::<_, Box<dyn Error>>(prepare_authority(&spec, issuer)?.sign(&root_key)?)
        };
        let root = mint(AuthorityRole::Root, &root_key, serial(number), None)?;
        let issuer = mint(AuthorityRole::Issuer, &issuer_key, serial(number + 1), Some(&root))?;
        Ok(Self { root, issuer, issuer_key })
    }

    fn chain(&self, name: &str, number: u8, ttl: Duration) -> Outcome<Vec<Certificate>> {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
        let request = LeafRequest {
            id: &SpiffeId::parse(&format!("spiffe://{TRUST_DOMAIN}/{name}"))?,
            dns_names: &["web.example.org".parse()?],
            ip_addresses: &[],
            public_key: key.public_key(),
            ttl: Some(ttl),
            serial: serial(number),
            now: Timestamp::from_unix_seconds(NOW - 3600),
        };
        let leaf = prepare_leaf(&LeafProfile::new(DAY, DAY)?, &request, &self.issuer)?.sign(&self.issuer_key)?;
        Ok(vec![leaf, self.issuer.clone()])
    }
}

fn main() -> Outcome<()> {
    let (ours, foreign) = (Authority::new(1)?, Authority::new(11)?);
    let web = ours.chain("web", 21, DAY)?;
    let sets = [
        ("root", vec![ours.root.clone()]),
        ("foreign-root", vec![foreign.root.clone()]),
        ("web", web.clone()),
        ("api", ours.chain("api", 22, DAY)?),
        ("ended", ours.chain("web", 23, Duration::from_secs(60))?),
        ("foreign", foreign.chain("web", 24, DAY)?),
    ];
    for (name, certificates) in &sets {
        std::fs::write(root().join("fixtures").join(format!("{name}.pem")), certificates_to_pem(certificates))?;
    }
    chains(&web, &ours.root)?;
    signed_by_vault(&web, &ours.root)?;
    requests()?;
    lists()?;
    tokens(&ours.root)?;
    messages(&web)?;
    conversations(&web, &ours.root)?;
    texts()
}

fn chains(web: &[Certificate], root: &Certificate) -> Outcome<()> {
    let whole = [web, std::slice::from_ref(root)].concat();
    let mut raw = vec![0];
    for certificate in &whole {
        raw.extend(u16::try_from(certificate.der().len())?.to_be_bytes());
        raw.extend_from_slice(certificate.der());
    }
    seed("svid_verify", "raw", &raw)?;
    seed("svid_verify", "whole", &[1, 0, 0, 0])?;
    seed("svid_verify", "with-root", &[1, 0, 0, 0, 3, 0])?;
    seed("svid_verify", "late", &[1, 1, 0xff, 0x7f])?;
    seed("svid_verify", "edited", &[1, 0, 0, 0, 6, 0, 40, 0, 1])?;
    let text = certificates_to_pem(&whole);
    seed("pem", "raw", &[&[0], text.as_bytes()].concat())?;
    seed("pem", "commented", &[b"\0# the root\n", certificates_to_pem([root]).as_bytes(), b"end\n"].concat())?;
    seed("pem", "assembled", &[1, 0, 90, b' ', b'#', b' ', b'a', 1, 2])?;
    let request = build_request(&PrivateKey::from_pem(JWT_KEY_PEM)?, None)?;
    seed("pem", "request", &[&[0], pki::request_to_pem(&request).as_bytes()].concat())
}

fn signed_by_vault(web: &[Certificate], root: &Certificate) -> Outcome<()> {
    let pem = |certificate| certificates_to_pem([certificate]);
    let [leaf, issuer] = web else { return Err("a leaf and its issuer".into()) };
    let data = serde_json::json!({ "certificate": pem(leaf), "issuing_ca": pem(issuer), "ca_chain": [pem(issuer), pem(root)] });
    let answer = |which: u8, body: serde_json::Value| [&[which], body.to_string().as_bytes()].concat();
    seed("vault", "signed", &answer(0, serde_json::json!({ "request_id": "1", "data": data, "auth": null })))?;
    seed("vault", "assembled", &[1, 1, 0, 1, 4, 2, 1, 4, 1, 5])?;
    let auth = serde_json::json!({ "client_token": "hvs.CAESIJ", "lease_duration": 3600, "renewable": true });
    seed("vault", "login", &answer(2, serde_json::json!({ "auth": auth })))?;
    seed("vault", "lookup", &answer(2, serde_json::json!({ "data": { "ttl": 60, "renewable": true } })))?;
    let errors = ["1 error occurred:\n\t* permission denied\n\n"];
    seed("vault", "errors", &answer(3, serde_json::json!({ "errors": errors })))
}

fn lists() -> Outcome<()> {
    let issuer = &LIST_ISSUER.certificate;
    let now = Timestamp::from_unix_seconds(NOW);
    let reasons = [RevocationReason::Unspecified, RevocationReason::KeyCompromise, RevocationReason::Superseded];
    let entries: Vec<_> =
        (1..).zip(reasons).map(|(number, reason)| RevokedSerial { serial: serial(number), revoked_at: now, reason }).collect();
    for (name, entries, life) in [("empty", &[][..], DAY), ("named", &entries, 7 * DAY), ("late", &entries, 30 * 365 * DAY)] {
        let (number, next_update) = (CrlNumber::from(7), now.plus(life));
        let list = prepare_crl(&CrlTemplate { issuer, number, this_update: now, next_update, entries })?;
        seed("crl", name, &[&[1], list.tbs_der()].concat())?;
    }
    let elsewhere = include_bytes!("../../pki/testdata/crl/ca-crl.pem");
    seed("crl", "text", &[&[2], &elsewhere[..]].concat())?;
    let der = pki::crl::crls_from_pem(elsewhere)?.concat();
    seed("crl", "elsewhere", &[&[0], der.as_slice()].concat())
}

fn requests() -> Outcome<()> {
    let id = SpiffeId::parse("spiffe://example.org/web")?;
    let files: [(&str, &[u8]); 4] = [
        ("p256", JWT_KEY_PEM),
        ("p384", include_bytes!("../../pki/testdata/p384-sec1.pem")),
        ("rsa", include_bytes!("../../pki/testdata/rsa2048-pkcs8.pem")),
        ("ed25519", include_bytes!("../../pki/testdata/ed25519-pkcs8.pem")),
    ];
    for (name, pem) in files {
        let key = PrivateKey::from_pem(pem)?;
        seed("csr", name, &[&[0], build_request(&key, Some(&id))?.as_slice()].concat())?;
        seed("csr", &format!("{name}-bare"), &[&[0], build_request(&key, None)?.as_slice()].concat())?;
    }
    seed("csr", "assembled", &[2, 2, 1, 2, 2, 1, 0])?;
    seed("csr", "assembled-twice", &[2, 2, 1, 1, 2, 0, 3, 1, 1, 2, 1])?;
    let mut attest = vec![5];
    attest.extend([7; 128]);
    let csr = csr_of(&[0x30, 0], &[]);
    attest.extend(csr);
    seed("attest", "bound", &attest)
}

fn tokens(root: &Certificate) -> Outcome<()> {
    let key = JwtKey::new(PrivateKey::from_pem(JWT_KEY_PEM)?)?;
    let kid = key.key_id();
    let header = format!("{{\"alg\":\"ES256\",\"kid\":\"{kid}\",\"typ\":\"JWT\"}}");
    let (exp, iat) = (NOW + 300, NOW);
    let claims = format!("{{\"aud\":[\"db\",\"mail\"],\"exp\":{exp},\"iat\":{iat},\"sub\":\"spiffe://example.org/web\"}}");
    seed("jwt", "signed", format!("\u{1}{header}\n{claims}").as_bytes())?;
    let bare = format!(
        "\u{1}{{\"alg\":\"ES256\"}}\n{{\"aud\":\"db\",\"exp\":{exp},\"nbf\":{iat},\"sub\":\"spiffe://example.org/a/b\"}}"
    );
    seed("jwt", "signed-bare", bare.as_bytes())?;
    let token = pki::prepare_jwt_svid(
        key.authority(),
        &SpiffeId::parse("spiffe://example.org/web")?,
        &pki::AudienceSet::parse(&["db"])?,
        Duration::from_secs(300),
        Timestamp::from_unix_seconds(NOW),
    )?
    .sign(&key)?;
    seed("jwt", "token", format!("\0{}", token.token()).as_bytes())?;
    let bundle = TrustBundle::new(TrustDomain::parse(TRUST_DOMAIN)?, vec![root.clone()], 7)?;
    let bundle = bundle.with_jwt_authorities(vec![key.authority().clone()])?;
    for (name, content) in [("all", JwksContent::All), ("x509", JwksContent::X509), ("jwt", JwksContent::Jwt)] {
        seed("jwks", name, bundle.to_jwks(content).as_bytes())?;
    }
    let at = |sequence, content| {
        let bundle = TrustBundle::new(bundle.trust_domain().clone(), bundle.authorities().to_vec(), sequence)?;
        Ok::<_, Box<dyn Error>>(bundle.with_jwt_authorities(vec![key.authority().clone()])?.to_jwks(content))
    };
    let (older, newer, unnumbered) = (at(7, JwksContent::All)?, at(8, JwksContent::X509)?, at(0, JwksContent::Jwt)?);
    seed("foreign_bundle", "newer", format!("{older}\n{newer}").as_bytes())?;
    seed("foreign_bundle", "older", format!("{newer}\n{older}").as_bytes())?;
    seed("foreign_bundle", "unnumbered", format!("{{\"keys\":[]}}\n{unnumbered}").as_bytes())?;
    let issuer = r#"{"keys":[{"kty":"EC","crv":"P-384","kid":"a","use":"sig"},{"kty":"RSA","alg":"RS256","n":"AQAB","e":"AQAB"},{"kty":"oct","k":"AA"}]}"#;
    seed("jwks", "issuer", issuer.as_bytes())
}

fn messages(web: &[Certificate]) -> Outcome<()> {
    let hello = v1::Hello { protocol: 1, build: "0.1.0".to_owned(), ..Default::default() };
    let key = PrivateKey::from_pem(JWT_KEY_PEM)?;
    let (csr, node_public_key) = (build_request(&key, None)?, key.public_key().spki_der().to_vec());
    let join = v1::AttestJoinTokenRequest {
        hello: Some(hello.clone()),
        token: "0123456789abcdef0123456789abcdef".to_owned(),
        node_public_key: node_public_key.clone(),
        csr: csr.clone(),
        proof: vec![1; 64],
    };
    seed("attest", "join", &[&[0], join.encode_to_vec().as_slice()].concat())?;
    let begin = v1::reattest_request::Begin { hello: Some(hello.clone()), node_public_key: node_public_key.clone() };
    let reattest = v1::ReattestRequest { step: Some(v1::reattest_request::Step::Begin(begin)) };
    seed("attest", "reattest", &[&[1], reattest.encode_to_vec().as_slice()].concat())?;
    let chain = web.iter().map(|certificate| certificate.der().to_vec()).collect();
    let begin = v1::attest_certificate_request::Begin { hello: Some(hello), chain, node_public_key };
    let certificate = v1::AttestCertificateRequest { step: Some(v1::attest_certificate_request::Step::Begin(begin)) };
    seed("attest", "certificate", &[&[2], certificate.encode_to_vec().as_slice()].concat())?;
    let entry = v1::Entry {
        id: "e1".to_owned(),
        spiffe_id: "spiffe://example.org/web".to_owned(),
        selectors: vec!["unix:uid:1000".to_owned(), "unix:path:/bin/web".to_owned()],
        parent_node: "n1".to_owned(),
        ttl_seconds: 60,
        dns_names: vec!["web.example.org".to_owned()],
        hint: "internal".to_owned(),
        parent_alias: "web".to_owned(),
        revision: 3,
        ..Default::default()
    };
    seed("attest", "entry", &[&[3], entry.encode_to_vec().as_slice()].concat())?;
    let update = v1::SyncUpdate { sequence: 1, replaces_entries: true, upserted: vec![entry], ..Default::default() };
    seed("attest", "update", &[&[4], update.encode_to_vec().as_slice()].concat())?;

    // Open, ask for three names, take, accept, another state, take, reject.
    seed("sds", "push", &[0, 0, 2, 0, 7, 3, 9, 0, 2, 0, 7, 0, 5, 3, 9, 0, 2, 0, 7, 1, 9, 0])?;
    seed("sds", "delta", &[0, 1, 2, 0, 15, 3, 9, 0, 2, 0, 15, 0, 5, 5, 9, 0, 2, 0, 3, 1, 9, 0, 5, 2, 9, 0])?;
    seed("sds", "both", &[0, 0, 0, 1, 2, 0, 1, 3, 2, 1, 2, 3, 9, 0, 9, 1, 5, 7, 7, 0, 90, 9, 0, 9, 1, 8, 3])?;
    let state =
        DiscoveryRequest { resource_names: vec!["default".to_owned(), "*".to_owned()], ..Default::default() }.encode_to_vec();
    let delta =
        DeltaDiscoveryRequest { resource_names_subscribe: vec!["ROOTCA".to_owned()], ..Default::default() }.encode_to_vec();
    let raw =
        |kind: u8, bytes: &[u8]| Ok::<_, Box<dyn Error>>([&[0, kind, 4, 0, u8::try_from(bytes.len())?], bytes, &[9, 0]].concat());
    seed("sds", "raw", &raw(0, &state)?)?;
    seed("sds", "raw-delta", &raw(1, &delta)?)
}

/// What a CA and an agent say to each other.
fn conversations(web: &[Certificate], root: &Certificate) -> Outcome<()> {
    let hello = v1::Hello {
        protocol: 1,
        build: "0.1.0".to_owned(),
        features: vec!["audit-checkpoints".to_owned()],
        wall_clock: Some(prost_types::Timestamp { seconds: i64::try_from(NOW)?, nanos: 0 }),
        ..Default::default()
    };
    seed("hello", "plain", &[&[0], hello.encode_to_vec().as_slice()].concat())?;
    let demanding = v1::Hello { required_features: vec!["batch-issue".to_owned(), "warp".to_owned()], ..hello };
    seed("hello", "demanding", &[&[0], demanding.encode_to_vec().as_slice()].concat())?;
    let key = CheckpointKey::new(PrivateKey::from_pem(JWT_KEY_PEM)?)?;
    let checkpoint = Checkpoint {
        trust_domain: TrustDomain::parse(TRUST_DOMAIN)?,
        sequence: 7,
        head: [7; 32],
        time: Timestamp::from_unix_seconds(NOW),
        previous: [0; 32],
    };
    let signed = ca::rpc::checkpoint_wire::checkpoint(&key.sign(checkpoint)?);
    seed("hello", "checkpoint", &[&[1], signed.encode_to_vec().as_slice()].concat())?;
    // How far each goes, what is wrong with it, its head.
    seed("hello", "chain", &[2, 1, 0, 7, 2, 0, 8, 3, 0, 9])?;
    seed("hello", "chain-again", &[2, 1, 0, 7, 1, 8, 8, 1, 4, 9])?;

    for (name, text) in CONTROL_GROUPS {
        let (uid, id) = ("0f9a1b2c-3d4e-4f50-8a1b-0123456789ab", "a1".repeat(32));
        let text = text.replace("<U>", uid).replace("<U_>", &uid.replace('-', "_")).replace("<S>", &"0c".repeat(16));
        let (other, other_id) = ("ffffffff-0000-4000-8000-fedcba987654", "b2".repeat(32));
        seed("cgroup", name, text.replace("<A>", &id).replace("<V>", other).replace("<B>", &other_id).as_bytes())?;
    }

    for (target, seeds) in [("objects", &OBJECTS[..]), ("policy", &POLICIES)] {
        for (name, kind, text) in seeds {
            seed(target, name, &[&[*kind], text.as_bytes()].concat())?;
        }
    }

    let chain = || web.iter().map(|certificate| certificate.der().to_vec()).collect();
    let answer = v1::X509Svid { spiffe_id: "spiffe://example.org/web".to_owned(), chain: chain(), issued_at: None };
    seed("answer", "svid", &[&[0], answer.encode_to_vec().as_slice()].concat())?;
    // Issued now, looked at now, the leaf for the known key and its issuer; then with the root, and with a bit turned over.
    seed("answer", "assembled", &[1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1])?;
    seed("answer", "assembled-root", &[1, 9, 0, 0, 0, 0, 0, 1, 0, 3, 0, 1, 2])?;
    seed("answer", "assembled-bent", &[1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 90, 0, 1])?;
    let end = prost_types::Timestamp { seconds: i64::try_from(NOW + 300)?, nanos: 0 };
    let token = v1::IssueJwtSvidResponse { token: "a.b.c".to_owned(), issued_at: Some(end), expires_at: Some(end) };
    seed("answer", "token", &[&[2], token.encode_to_vec().as_slice()].concat())?;
    seed("answer", "issued", &[3, 1, 1, 1, 0, 60, 0, 0, 0])?;
    let x509_authorities = vec![root.der().to_vec()];
    let (jwt_authorities, tainted_keys) = (Vec::new(), Vec::new());
    let bundle =
        v1::Bundle { trust_domain: TRUST_DOMAIN.to_owned(), x509_authorities, sequence: 3, jwt_authorities, tainted_keys };
    seed("answer", "bundle", &[&[4], bundle.encode_to_vec().as_slice()].concat())?;
    let cert_chain = vec![certificates_to_pem(web), certificates_to_pem([root])];
    let istio = proto::istio::IstioCertificateResponse { cert_chain };
    seed("answer", "istio", &[&[5], istio.encode_to_vec().as_slice()].concat())?;
    // Three texts: the leaf, its issuer, the root.
    seed("answer", "elements", &[6, 3, 1, 1, 0, 1, 1, 1, 1, 1, 2])?;

    let entry = v1::Entry {
        id: format!("{:032x}", 1),
        spiffe_id: "spiffe://example.org/web".to_owned(),
        selectors: vec!["unix:uid:1000".to_owned()],
        parent_node: "n1".to_owned(),
        ..Default::default()
    };
    let update =
        v1::SyncUpdate { sequence: 1, replaces_entries: true, upserted: vec![entry], bundle: Some(bundle), ..Default::default() };
    seed("sync", "update", &[&[0], update.encode_to_vec().as_slice()].concat())?;
    seed("sync", "updates", &[1, 1, 0, 2, 1, 15, 2, 15, 0, 0, 3, 1, 9, 2, 3, 1, 3, 15, 1, 1, 0, 3, 2, 9])?;
    let create = v1::CreateEntryRequest {
        spiffe_id: "spiffe://example.org/web".to_owned(),
        selectors: vec!["unix:uid:1000".to_owned(), "unix:path:/bin/web".to_owned()],
        parent_node: "n1".to_owned(),
        ttl_seconds: 60,
        dns_names: vec!["web.example.org".to_owned()],
        hint: "internal".to_owned(),
        expires_at: Some(end),
        ..Default::default()
    };
    seed("sync", "create", &[&[2], create.encode_to_vec().as_slice()].concat())?;
    let selectors = Some(v1::TextList { texts: vec!["unix:gid:1".to_owned()] });
    let change = v1::UpdateEntryRequest { id: "e1".to_owned(), selectors, never_expires: true, ..Default::default() };
    seed("sync", "change", &[&[3], change.encode_to_vec().as_slice()].concat())
}

fn texts() -> Outcome<()> {
    for (name, text) in [
        ("id", "spiffe://example.org/ns/default/sa/web"),
        ("domain-id", "spiffe://example.org"),
        ("domain", "example.org"),
        ("dots", "spiffe://t/a/../b"),
        ("upper", "spiffe://T/A"),
        ("selector", "unix:uid:1000"),
        ("selector-path", "unix:path:/usr/bin/envoy"),
    ] {
        seed("spiffe_id", name, text.as_bytes())?;
    }
    let ca = "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nlisten = \"127.0.0.1:0\"\nreplica = \"ca-2\"\nreplica_byte = 2\n\
              server_names = [\"ca.example.org\", \"10.0.0.1\"]\nadvertise = \"ca.example.org:8443\"\n[leaf]\ndefault_ttl = \"10m\"\n\
              max_ttl = \"1h\"\nagent_ttl = \"20m\"\n[attestation]\nreattest_window = \"1h\"\ntoken_ttl = \"1m\"\n\
              [[attestation.certificate]]\nroots = \"/r.pem\"\nnode = \"dns:{node}.vm.example.org\"\n[jwt]\nmax_ttl = \"10m\"\n[log]\nformat = \"json\"\n\
              [telemetry]\naddress = \"127.0.0.1:0\"\n";
    seed("config", "ca", format!("0{ca}").as_bytes())?;
    seed("config", "ca-small", b"0trust_domain = \"t\"\nstate_dir = \"/s\"\nlisten = \"[::1]:1\"\n")?;
    let agent = "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nca_address = \"ca.example.org:8443\"\n\
                 trust_bundle = \"/b.pem\"\njoin_token_file = \"/t\"\napi_socket = \"/a.sock\"\n[sds]\nvalidation_context = \"spiffe\"\n\
                 [telemetry]\naddress = \"unix:/t.sock\"\n[log]\nlevel = \"debug\"\n";
    seed("config", "agent", format!("1{agent}").as_bytes())?;
    let grounds = r#"{"audiences":["signet"],"by":"token","claims":{"env":"b","sub":"x"},"issuer":"https://issuer.example"}"#;
    seed("ledger", "grounds", grounds.as_bytes())?;
    seed("ledger", "source", grounds.replace("\"by\":\"token\",", "").as_bytes())?;
    let events = [3, 0, 0, 0, 1, 2, b'a', b'b', 2, b'{', b'}', 0, 0, 0, 2, 1, b'c', 0, 0, 0, 0, 3, 1, b'd', 1, b'e'];
    for (name, touch) in
        [("whole", &[][..]), ("edited", &[6, 1, 1, b'x']), ("removed", &[3, 1]), ("moved", &[4, 1]), ("cut", &[2, 1])]
    {
        seed("ledger", name, &[&events[..], touch].concat())?;
    }
    seed("ledger", "inserted", &[&events[..], &[8, 2, 1, b'k', 1, b'b']].concat())?;
    seed("ledger", "set-back", &[&events[..], &[1, 1, 2, 2]].concat())
}

/// Documents with policies, and paths: which of the two, for the target, and the text.
const POLICIES: [(&str, u8, &str); 6] = [
    (
        "document",
        0,
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a, namespace: b}\nspec: {action: DENY, rules: [{to: [{operation: {paths: [/x]}}]}]}\n",
    ),
    (
        "two-documents",
        0,
        "apiVersion: rbac.istio.io/v1alpha1\nkind: ServiceRole\nmetadata: {name: r, namespace: b}\nspec: {rules: [{services: ['*'], methods: [GET]}]}\n---\nkind: [\n",
    ),
    (
        "misspelt",
        0,
        "apiVersion: security.istio.io/v1beta1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: istio-system}\nspec: {mtsl: {mode: STRICT}}\n",
    ),
    (
        "json",
        0,
        "{\"apiVersion\":\"authentication.istio.io/v1alpha1\",\"kind\":\"Policy\",\"metadata\":{\"name\":\"default\",\"namespace\":\"b\"},\"spec\":{\"peers\":[{\"mtls\":{}}]}}",
    ),
    ("path", 1, "/x/..%2fadmin;a=b//%61?q=1#f"),
    ("path-escapes", 1, "/%2%66/%252e%2e/\\..%5c%00"),
];

/// What an API server tells of objects: of which kind, for the target, and as it tells it.
const OBJECTS: [(&str, u8, &str); 9] = [
    (
        "entry",
        0,
        r#"{"metadata":{"namespace":"shop","name":"front","uid":"8a1f0d9e-3c52-4d0a-9a53-2b1f7d1c9e10","resourceVersion":"7","generation":1,"creationTimestamp":"2026-11-20T11:00:00Z"},"spec":{"path":"front","selectors":["k8s:sa:web","k8s:pod-label:tier:front"],"ttlSeconds":3600,"hint":"internal","federatesWith":["partner.example"]}}"#,
    ),
    (
        "entry-of-an-account",
        0,
        r#"{"metadata":{"namespace":"shop","name":"front","uid":"8a1f0d9e-3c52-4d0a-9a53-2b1f7d1c9e10","resourceVersion":"7","generation":1,"creationTimestamp":"2026-11-20T11:00:00Z"},"spec":{"path":"sa/web","selectors":["k8s:sa:web"]}}"#,
    ),
    (
        "entry-elsewhere",
        0,
        r#"{"metadata":{"namespace":"shop","name":"front","uid":"8a1f0d9e-3c52-4d0a-9a53-2b1f7d1c9e10","resourceVersion":"7","generation":1,"creationTimestamp":"2026-11-20T11:00:00Z"},"spec":{"path":"../mall/web","selectors":["k8s:ns:mall"]}}"#,
    ),
    (
        "entry-unknown-field",
        0,
        r#"{"metadata":{"namespace":"shop","name":"front","uid":"8a1f0d9e-3c52-4d0a-9a53-2b1f7d1c9e10","resourceVersion":"7","generation":1,"creationTimestamp":"2026-11-20T11:00:00Z"},"spec":{"path":"front","selectors":["k8s:sa:web"],"dnsNames":["www.example.org"]}}"#,
    ),
    (
        "entry-with-status",
        0,
        r#"{"metadata":{"namespace":"shop","name":"front","uid":"8a1f0d9e-3c52-4d0a-9a53-2b1f7d1c9e10","resourceVersion":"7","generation":1,"creationTimestamp":"2026-11-20T11:00:00Z"},"spec":{"path":"front","selectors":["unix:uid:0"]},"status":{"observedGeneration":1,"conditions":[{"type":"Accepted","status":"True"}]}}"#,
    ),
    (
        "pod",
        1,
        r#"{"metadata":{"namespace":"shop","name":"front","uid":"8a1f0d9e-3c52-4d0a-9a53-2b1f7d1c9e10","resourceVersion":"7"},"spec":{"nodeName":"n1","serviceAccountName":"web"},"status":{"phase":"Running"}}"#,
    ),
    (
        "secret",
        2,
        r#"{"metadata":{"namespace":"shop","name":"front","uid":"8a1f0d9e-3c52-4d0a-9a53-2b1f7d1c9e10","resourceVersion":"7","managedFields":[{"manager":"signet"}]},"type":"istio.io/key-and-cert","data":{"key.pem":"AA=="}}"#,
    ),
    (
        "account",
        3,
        r#"{"metadata":{"namespace":"shop","name":"front","uid":"8a1f0d9e-3c52-4d0a-9a53-2b1f7d1c9e10","resourceVersion":"7"}}"#,
    ),
    (
        "namespace",
        4,
        r#"{"metadata":{"name":"shop","uid":"8a1f0d9e-3c52-4d0a-9a53-2b1f7d1c9e10","resourceVersion":"9","labels":{"a":"b"}}}"#,
    ),
];

/// What `/proc/<pid>/cgroup` says of processes in containers, and of such as only look so.
const CONTROL_GROUPS: [(&str, &str); 12] = [
    ("cgroupfs", "0::/kubepods/burstable/pod<U>/<A>\n"),
    ("systemd", "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<U_>.slice/cri-containerd-<A>.scope\n"),
    ("crio", "0::/kubepods.slice/kubepods-pod<U_>.slice/crio-<A>.scope/container\n"),
    ("both", "0::/system.slice/containerd.service/kubepods-burstable-pod<U_>.slice:cri-containerd:<A>\n"),
    ("hybrid", "12:pids:/kubepods/pod<U>/<A>\n4:memory:/\n1:name=systemd:/kubepods/pod<U>/<A>\n0::/\n"),
    ("relative", "0::/../../kubepods-besteffort-pod<U_>.slice/cri-containerd-<A>.scope\n"),
    ("static", "0::/../../pod<S>/<A>\n"),
    ("kind", "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<U_>.slice/docker-<A>.scope\n"),
    ("nested", "0::/kubepods/pod<U>/<A>/kubepods/pod<V>/<B>\n"),
    ("two", "5:pids:/kubepods/pod<U>/<A>\n0::/kubepods/pod<V>/<B>\n"),
    ("user", "0::/user.slice/user-1000.slice/user@1000.service/kubepods.slice/kubepods-pod<U_>.slice/crio-<A>.scope\n"),
    ("none", "0::/system.slice/sshd.service\n"),
];
