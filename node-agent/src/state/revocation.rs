//! The newest revocation lists: what an agent knows to be revoked after a restart while the CA is away.

use data_encoding::HEXLOWER;
use identity::TrustDomain;
use pki::crl::MAX_REVOCATION_SET_BYTES;
use pki::{RevocationSet, TrustBundle};
use prost::Message;
use proto::v1;
use runtime::private_files::{self, Overwrite};

use super::{StateDir, StateError};
use crate::ca_client::wire;

/// The most that the file may hold, in bytes: the lists, and a certificate for each.
const MAX_BYTES: usize = MAX_REVOCATION_SET_BYTES + 1024 * 1024;

pub(super) const REVOCATION: &str = "revocation.bin";
const HEADER: &str = "signet revocation 1 ";

impl StateDir {
    /// The lists that were stored last, verified under the bundle of now.
    ///
    /// # Errors
    /// Why what is there cannot be used: all of it then, as from the CA.
    pub(crate) fn revocation(&self, trust_domain: &TrustDomain, bundle: &TrustBundle) -> Result<Option<RevocationSet>, String> {
        let path = self.path.join(REVOCATION);
        if !path.exists() {
            return Ok(None);
        }
        let read = private_files::read_private(&path, MAX_BYTES).map_err(|error| error.to_string());
        let parsed = read.and_then(|bytes| parse(&bytes, trust_domain, bundle));
        parsed.map(Some).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// Stores lists in the place of those before.
    ///
    /// # Errors
    /// [`StateError::File`] when the disk refuses; the lists before then stay.
    pub(crate) fn store_revocation(&self, lists: &RevocationSet, trust_domain: &TrustDomain) -> Result<(), StateError> {
        let content = wire::revocation_to_wire(lists, trust_domain).encode_to_vec();
        let mut bytes = format!("{HEADER}{}\n", HEXLOWER.encode(&pki::sha256(&content))).into_bytes();
        bytes.extend(content);
        Ok(private_files::write_private(&self.path.join(REVOCATION), &bytes, Overwrite::Replace)?)
    }
}

fn parse(bytes: &[u8], trust_domain: &TrustDomain, bundle: &TrustBundle) -> Result<RevocationSet, String> {
    let line = bytes.iter().position(|byte| *byte == b'\n').ok_or("it has no header")?;
    let (header, content) = bytes.split_at(line);
    let content = content.get(1..).unwrap_or_default();
    if header != format!("{HEADER}{}", HEXLOWER.encode(&pki::sha256(content))).as_bytes() {
        return Err("its header is not that of this version and content".to_owned());
    }
    let lists = v1::RevocationLists::decode(content).map_err(|error| error.to_string())?;
    wire::revocation(lists, trust_domain, bundle).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use pki::Timestamp;

    use super::*;
    use crate::fakes::FakeAuthority;

    #[test]
    fn lists_come_back_as_they_were_and_only_whole_and_under_their_bundle() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(&directory.path().join("state")).unwrap();
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let (authority, other) = (FakeAuthority::new(now), FakeAuthority::new(now));
        let (domain, bundle) = (&authority.trust_domain, authority.bundle(1));
        assert_eq!(state.revocation(domain, &bundle), Ok(None));
        let lists = authority.lists(&[], 7, now);
        state.store_revocation(&lists, domain).unwrap();
        assert_eq!(state.revocation(domain, &bundle), Ok(Some(lists.clone())));
        assert!(state.revocation(domain, &other.bundle(1)).is_err());
        assert!(state.revocation(&TrustDomain::parse("other.org").unwrap(), &bundle).is_err());

        let path = directory.path().join("state").join(REVOCATION);
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap()) & 0o777, 0o600);
        let good = std::fs::read(&path).unwrap();
        for end in [0, 1, 20, good.len() - 1] {
            std::fs::write(&path, &good[..end]).unwrap();
            assert!(state.revocation(domain, &bundle).is_err(), "cut at {end}");
        }
        let mut other = good.clone();
        *other.last_mut().unwrap() ^= 1;
        std::fs::write(&path, other).unwrap();
        assert!(state.revocation(domain, &bundle).is_err(), "a bit flipped");
        std::fs::write(&path, good).unwrap();
        assert_eq!(state.revocation(domain, &bundle), Ok(Some(lists)));
    }
}
