use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use runtime::entropy::SystemEntropy;

use super::*;
use crate::fakes::FakeAuthority;

struct Bed {
    directory: tempfile::TempDir,
    authority: FakeAuthority,
}

impl Bed {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bed = Self { directory, authority: FakeAuthority::new(now()) };
        bed.key("key", &[7; 32], 0o600);
        bed
    }

    fn key(&self, name: &str, secret: &[u8], mode: u32) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn cache(&self, key: &str, trust_domain: &str) -> SvidCache {
        let (path, domain) = (self.directory.path(), TrustDomain::parse(trust_domain).unwrap());
        SvidCache::new(path, &SecretSource::File(path.join(key)), domain, Arc::new(SystemEntropy)).unwrap()
    }

    fn svid(&self, id: &str) -> (EntryId, Arc<X509Svid>) {
        let svid = self.authority.svid(&self.authority.id(&format!("/{id}")), Duration::from_secs(600), now());
        (EntryId::parse(id).unwrap(), Arc::new(svid))
    }
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000)
}

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

#[test]
fn svids_come_back_whole_and_no_key_stands_in_the_file() {
    let bed = Bed::new();
    let cache = bed.cache("key", "example.org");
    assert!(cache.load(Some(&node("n1"))).unwrap().is_empty(), "no file is an empty cache");
    let svids = [bed.svid("a"), bed.svid("b")];
    cache.store(Some(&node("n1")), &svids).unwrap();
    let back = cache.load(Some(&node("n1"))).unwrap();
    assert_eq!(back.len(), 2);
    for ((entry, svid), (found_entry, found)) in svids.iter().zip(&back) {
        assert_eq!((entry, svid.id(), svid.issued()), (found_entry, found.id(), found.issued()));
        assert_eq!(svid.leaf().der(), found.leaf().der());
        assert_eq!(svid.key().pkcs8_der(), found.key().pkcs8_der());
    }
    let file = bed.directory.path().join(FILE);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = std::fs::read(&file).unwrap();
    for secret in [b"PRIVATE KEY".as_slice(), b"BEGIN CERTIFICATE", b"example.org"] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
    cache.store(Some(&node("n1")), &svids[1..]).unwrap();
    assert_ne!(bytes[..32], std::fs::read(&file).unwrap()[..32], "each file is sealed under a key of its own");
    assert_eq!(cache.load(Some(&node("n1"))).unwrap().len(), 1);
    cache.store(Some(&node("n1")), &[]).unwrap();
    assert!(cache.load(Some(&node("n1"))).unwrap().is_empty());
}

#[test]
fn a_cache_opens_with_its_secret_for_its_node_and_trust_domain_only() {
    let bed = Bed::new();
    bed.key("other", &[8; 32], 0o600);
    let cache = bed.cache("key", "example.org");
    cache.store(Some(&node("n1")), &[bed.svid("a")]).unwrap();
    assert!(bed.cache("other", "example.org").load(Some(&node("n1"))).is_err());
    assert!(bed.cache("key", "other.org").load(Some(&node("n1"))).is_err());
    assert!(cache.load(Some(&node("n2"))).is_err());
    assert!(cache.load(None).is_err());
    let file = bed.directory.path().join(FILE);
    let good = std::fs::read(&file).unwrap();
    for end in [0, 10, 44, good.len() - 1] {
        std::fs::write(&file, &good[..end]).unwrap();
        assert!(cache.load(Some(&node("n1"))).is_err(), "cut at {end}");
    }
    cache.store(Some(&node("n1")), &[bed.svid("a")]).unwrap();
    assert_eq!(cache.load(Some(&node("n1"))).unwrap().len(), 1, "what did not open is replaced");
}

#[test]
fn a_secret_that_others_can_read_or_that_is_too_short_is_refused() {
    let bed = Bed::new();
    assert!(read_secret(&SecretSource::File(bed.key("good", &[1; 32], 0o600))).is_ok());
    for (secret, mode) in [(&[1; 31][..], 0o600), (&[1; 32], 0o604), (&[1; 32], 0o660)] {
        assert!(read_secret(&SecretSource::File(bed.key("bad", secret, mode))).is_err(), "{} bytes, {mode:o}", secret.len());
    }
    assert!(read_secret(&SecretSource::File("/nonexistent/key".into())).is_err());
}

#[test]
fn what_opens_and_makes_no_sense_is_refused_whole() {
    for text in ["x", "# signet entry a", "# signet entry a, issued x\n", "# signet entry a, issued 1\nno certificate"] {
        assert!(parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(parse(b"").unwrap().is_empty());
}
