use std::io::{Seek, SeekFrom, Write};

use runtime::entropy::SeededEntropy;

use super::super::manifest::tests::manifest;
use super::*;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
}

/// A container with this behind the manifest.
fn written(content: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut sink = |bytes: Vec<u8>| -> Result<(), StreamError> {
        file.extend_from_slice(&bytes);
        Ok(())
    };
    let entropy = SeededEntropy::insecure_from_seed(7);
    let mut writer = ContainerWriter::begin(&manifest(), &passphrase("right"), &entropy, &mut sink).unwrap();
    writer.put(content).unwrap();
    writer.end().unwrap();
    file
}

/// What comes behind the manifest, when all of it holds.
fn read(bytes: &[u8], secret: &str, most: usize) -> Result<Vec<u8>, RestoreError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let (found, mut reader) = ContainerReader::begin(file, &passphrase(secret))?;
    assert_eq!(found, manifest());
    let mut content = Vec::new();
    while content.len() < most {
        content.extend_from_slice(reader.some(most - content.len())?);
    }
    reader.end().map(|()| content)
}

#[test]
fn what_is_written_is_read_whatever_its_length() {
    let manifest_bytes = 4 + manifest().to_json().len();
    for length in [0, 1, PIECE_BYTES - manifest_bytes, PIECE_BYTES - manifest_bytes + 1, 3 * PIECE_BYTES] {
        let content: Vec<u8> = (0..=255).cycle().take(length).collect();
        let file = written(&content);
        assert_eq!(read(&file, "right", length).unwrap(), content, "{length}");
        assert!(!file.windows(16).any(|window| window == b"\"trust_domain\":\""), "what it says is sealed too");
    }
}

#[test]
fn what_was_changed_cut_or_extended_is_refused_and_so_is_another_passphrase() {
    let content = vec![5; 2 * PIECE_BYTES];
    let good = written(&content);
    let length = content.len();
    assert_eq!(read(&good, "right", length).unwrap(), content);
    assert!(matches!(read(&good, "wrong", length), Err(RestoreError::Sealed(StreamError::Beginning))));
    let last = good.len() - 1;
    for at in [PREFIX_BYTES, PREFIX_BYTES + HEADER_BYTES, PREFIX_BYTES + HEADER_BYTES + SEALED_PIECE_BYTES + 100, last] {
        let mut changed = good.clone();
        changed[at] ^= 1;
        assert!(matches!(read(&changed, "right", length), Err(RestoreError::Sealed(_))), "byte {at}");
    }
    // Between two pieces, within one, before the last.
    for end in [
        PREFIX_BYTES + HEADER_BYTES,
        PREFIX_BYTES + HEADER_BYTES + SEALED_PIECE_BYTES,
        PREFIX_BYTES + HEADER_BYTES + 2 * SEALED_PIECE_BYTES,
        last,
    ] {
        let cut = read(&good[..end], "right", length);
        assert!(matches!(cut, Err(RestoreError::Cut | RestoreError::Sealed(_))), "cut at {end}: {cut:?}");
    }
    let more = [&good[..], b"more"].concat();
    assert!(matches!(read(&more, "right", length), Err(RestoreError::Sealed(_))));
}

#[test]
fn what_holds_more_or_less_than_is_asked_for_is_refused() {
    let file = written(b"content");
    assert!(read(&file, "right", 7).is_ok());
    assert!(matches!(read(&file, "right", 8), Err(RestoreError::Short)));
    assert!(matches!(read(&file, "right", 6), Err(RestoreError::Long)));
    let full = vec![5; 2 * PIECE_BYTES - 4 - manifest().to_json().len()];
    let file = written(&full);
    assert!(read(&file, "right", full.len()).is_ok(), "the last piece has no bytes");
    assert!(matches!(read(&file, "right", full.len() - PIECE_BYTES), Err(RestoreError::Long)));
}

#[test]
fn a_later_version_and_another_kind_of_file_are_told_apart_from_a_wrong_passphrase() {
    let good = written(b"content");
    let mut newer = good.clone();
    newer[PREFIX_BYTES - 1] = 2;
    assert!(matches!(read(&newer, "right", 7), Err(RestoreError::Version { found: 2, known: 1 })));
    for other in
        [&b""[..], b"signet backup\n", b"SQLite format 3\0 and a good deal more of other bytes", &good[..PREFIX_BYTES + 3]]
    {
        assert!(matches!(read(other, "right", 7), Err(RestoreError::NoBackup)));
    }
}
