//! The newest bundles of other trust domains: what an agent gives those entitled to them after a restart while the CA is away.

use data_encoding::HEXLOWER;
use identity::TrustDomain;
use prost::Message;
use proto::v1;
use runtime::private_files::{self, Overwrite};

use super::{StateDir, StateError};
use crate::ca_client::view::ForeignBundles;
use crate::ca_client::wire;

/// The most that the file may hold, in bytes: as many bundles as a CA keeps, each as long as it takes one.
const MAX_BYTES: usize = 64 * (256 * 1024 + 512);

const FOREIGN: &str = "foreign.bin";
const HEADER: &str = "signet foreign bundles 1 ";

impl StateDir {
    /// The bundles that were stored last; none when there is no file.
    ///
    /// # Errors
    /// Why what is there cannot be used: all of it then.
    pub(crate) fn foreign_bundles(&self, ours: &TrustDomain) -> Result<ForeignBundles, String> {
        let path = self.path.join(FOREIGN);
        if !path.exists() {
            return Ok(ForeignBundles::new());
        }
        let read = private_files::read_private(&path, MAX_BYTES).map_err(|error| error.to_string());
        read.and_then(|bytes| parse(&bytes, ours)).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// Stores bundles in the place of those before.
    ///
    /// # Errors
    /// [`StateError::File`] when the disk refuses; the bundles before then stay.
    pub(crate) fn store_foreign_bundles(&self, bundles: &ForeignBundles) -> Result<(), StateError> {
        let content = wire::foreign_bundles_to_wire(bundles).encode_to_vec();
        let mut bytes = format!("{HEADER}{}\n", HEXLOWER.encode(&pki::sha256(&content))).into_bytes();
        bytes.extend(content);
        Ok(private_files::write_private(&self.path.join(FOREIGN), &bytes, Overwrite::Replace)?)
    }
}

fn parse(bytes: &[u8], ours: &TrustDomain) -> Result<ForeignBundles, String> {
    let line = bytes.iter().position(|byte| *byte == b'\n').ok_or("it has no header")?;
    let (header, content) = bytes.split_at(line);
    let content = content.get(1..).unwrap_or_default();
    if header != format!("{HEADER}{}", HEXLOWER.encode(&pki::sha256(content))).as_bytes() {
        return Err("its header is not that of this version and content".to_owned());
    }
    let bundles = v1::ForeignBundles::decode(content).map_err(|error| error.to_string())?;
    match wire::foreign_bundles(bundles, ours) {
        (bundles, refused) if refused.is_empty() => Ok(bundles),
        (_, refused) => Err(refused.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pki::Timestamp;

    use super::*;
    use crate::fakes::FakeAuthority;

    #[test]
    fn foreign_bundles_come_back_as_they_were_and_only_whole() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(&directory.path().join("state")).unwrap();
        let foreign = FakeAuthority::new(Timestamp::from_unix_seconds(1_800_000_000));
        let ours = TrustDomain::parse("ours.org").unwrap();
        assert_eq!(state.foreign_bundles(&ours), Ok(ForeignBundles::new()));
        let bundles = ForeignBundles::from([(foreign.trust_domain.clone(), Arc::new(foreign.bundle(7)))]);
        state.store_foreign_bundles(&bundles).unwrap();
        assert_eq!(state.foreign_bundles(&ours), Ok(bundles.clone()));
        assert!(state.foreign_bundles(&foreign.trust_domain).is_err(), "the own bundle never comes that way");

        let path = directory.path().join("state").join(FOREIGN);
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap()) & 0o777, 0o600);
        let good = std::fs::read(&path).unwrap();
        for end in [0, 1, 20, good.len() - 1] {
            std::fs::write(&path, &good[..end]).unwrap();
            assert!(state.foreign_bundles(&ours).is_err(), "cut at {end}");
        }
        state.store_foreign_bundles(&ForeignBundles::new()).unwrap();
        assert_eq!(state.foreign_bundles(&ours), Ok(ForeignBundles::new()));
    }
}
