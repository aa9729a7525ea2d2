//! The file of a backup: a word that tells what it is, its version, and a sealed stream (`pki::seal::stream`) of the manifest and of the files
//! that it names, one behind the other.
//!
//! ```text
//! "signet backup\n"  version (16 bits)  salt, iterations  sealed pieces of: length of the manifest (32 bits), manifest, files
//! ```
//! Numbers are big-endian. Everything before the pieces is part of what each of them is sealed for.

use std::fs::File;
use std::io::{self, Read};

use pki::seal::stream::{HEADER_BYTES, PIECE_BYTES, SALT_BYTES, SEALED_PIECE_BYTES, StreamError, StreamOpener, StreamSealer};
use pki::{Passphrase, SEALING_RANDOM_BYTES};
use runtime::entropy::{self, Entropy};
use zeroize::Zeroizing;

use super::error::RestoreError;
use super::manifest::{MAX_MANIFEST_BYTES, Manifest};

const MAGIC: &[u8; 14] = b"signet backup\n";
/// The version that this build writes, and the only one that there is.
const VERSION: u16 = 1;
const PREFIX_BYTES: usize = MAGIC.len() + 2;

fn prefix(version: u16) -> [u8; PREFIX_BYTES] {
    let mut bytes = [0; PREFIX_BYTES];
    let (magic, number) = bytes.split_at_mut(MAGIC.len());
    magic.copy_from_slice(MAGIC);
    number.copy_from_slice(&version.to_be_bytes());
    bytes
}

/// Writes a container: what is put in comes out of `sink` sealed.
pub(super) struct ContainerWriter<'a, E> {
    sealer: StreamSealer,
    entropy: &'a dyn Entropy,
    sink: &'a mut dyn FnMut(Vec<u8>) -> Result<(), E>,
    /// Of the piece that is not full yet.
    open: Zeroizing<Vec<u8>>,
}

impl<'a, E: From<StreamError>> ContainerWriter<'a, E> {
    /// Begins with the manifest.
    ///
    /// # Errors
    /// What `sink` says.
    pub(super) fn begin(
        manifest: &Manifest,
        passphrase: &Passphrase,
        entropy: &'a dyn Entropy,
        sink: &'a mut dyn FnMut(Vec<u8>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let prefix = prefix(VERSION);
        let sealer = StreamSealer::new(passphrase, &prefix, entropy::bytes::<SALT_BYTES>(entropy));
        sink([&prefix[..], sealer.header()].concat())?;
        let mut writer = Self { sealer, entropy, sink, open: Zeroizing::new(Vec::with_capacity(PIECE_BYTES)) };
        let manifest = manifest.to_json();
        let length = u32::try_from(manifest.len()).unwrap_or(u32::MAX);
        writer.put(&length.to_be_bytes())?;
        writer.put(&manifest)?;
        Ok(writer)
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// What `sink` says.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), E> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = PIECE_BYTES.saturating_sub(self.open.len()).min(rest.len());
            let (now, later) = rest.split_at(room);
            self.open.extend_from_slice(now);
            rest = later;
            if self.open.len() == PIECE_BYTES {
                self.emit()?;
            }
        }
        Ok(())
    }

    /// Ends it by the last piece.
    ///
    /// # Errors
    /// What `sink` says.
    pub(super) fn end(mut self) -> Result<(), E> {
        self.emit()
    }

    fn emit(&mut self) -> Result<(), E> {
        let sealed = self.sealer.seal(&self.open, entropy::bytes::<SEALING_RANDOM_BYTES>(self.entropy))?;
        self.open.clear();
        (self.sink)(sealed)
    }
}

/// Reads a container, a piece at a time.
pub(super) struct ContainerReader {
    file: File,
    opener: StreamOpener,
    piece: Zeroizing<Vec<u8>>,
    /// How much of the piece was given out.
    taken: usize,
}

impl ContainerReader {
    /// Begins with the manifest. What it says is what was written under this passphrase; whether the rest is there is known at
    /// [`Self::end`].
    ///
    /// # Errors
    /// [`RestoreError`].
    pub(super) fn begin(mut file: File, passphrase: &Passphrase) -> Result<(Manifest, Self), RestoreError> {
        let mut head = [0; PREFIX_BYTES + HEADER_BYTES];
        if read_up_to(&mut file, &mut head)? != head.len() || !head.starts_with(MAGIC) {
            return Err(RestoreError::NoBackup);
        }
        let (before, header) = head.split_at(PREFIX_BYTES);
        let version = before.iter().skip(MAGIC.len()).fold(0, |sum: u16, byte| sum << 8 | u16::from(*byte));
        if version != VERSION {
            return Err(RestoreError::Version { found: version, known: VERSION });
        }
        let header = header.try_into().map_err(|_| RestoreError::NoBackup)?;
        let opener = StreamOpener::new(passphrase, &prefix(version), header)?;
        let mut reader = Self { file, opener, piece: Zeroizing::new(Vec::new()), taken: 0 };
        let mut length = [0; 4];
        reader.fill(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_MANIFEST_BYTES {
            return Err(RestoreError::Manifest(format!("it would have {length} bytes, at most {MAX_MANIFEST_BYTES} are taken")));
        }
        let mut manifest = vec![0; length];
        reader.fill(&mut manifest)?;
        Ok((Manifest::from_json(&manifest).map_err(RestoreError::Manifest)?, reader))
    }

    /// The next bytes, as many as `into` has room for.
    fn fill(&mut self, into: &mut [u8]) -> Result<(), RestoreError> {
        let mut filled = 0;
        while filled < into.len() {
            let room = into.get_mut(filled..).unwrap_or_default();
            let some = self.some(room.len())?;
            let (now, _) = room.split_at_mut(some.len());
            now.copy_from_slice(some);
            filled += now.len();
        }
        Ok(())
    }

    /// The next bytes, some of them and at most `most`, which is not zero.
    ///
    /// # Errors
    /// [`RestoreError::Short`] when there are none.
    pub(super) fn some(&mut self, most: usize) -> Result<&[u8], RestoreError> {
        if self.taken == self.piece.len() {
            self.next_piece()?;
            if self.piece.is_empty() {
                return Err(RestoreError::Short);
            }
        }
        let from = self.taken;
        self.taken = self.piece.len().min(from.saturating_add(most));
        Ok(self.piece.get(from..self.taken).unwrap_or_default())
    }

    /// That nothing follows, and that the last piece was the last.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub(super) fn end(mut self) -> Result<(), RestoreError> {
        if self.taken != self.piece.len() {
            return Err(RestoreError::Long);
        }
        // A piece that is not full is the last, and was read up to the end of the file.
        if !self.opener.is_over() {
            self.next_piece()?;
            if !self.piece.is_empty() {
                return Err(RestoreError::Long);
            }
        }
        Ok(())
    }

    fn next_piece(&mut self) -> Result<(), RestoreError> {
        if self.opener.is_over() {
            return Err(RestoreError::Short);
        }
        let mut sealed = vec![0; SEALED_PIECE_BYTES];
        let read = read_up_to(&mut self.file, &mut sealed)?;
        sealed.truncate(read);
        if sealed.is_empty() {
            return Err(RestoreError::Cut);
        }
        self.piece = self.opener.open(&sealed)?;
        self.taken = 0;
        Ok(())
    }
}

/// Reads until the room is full or the file ends; says how much there was.
fn read_up_to(file: &mut File, into: &mut [u8]) -> Result<usize, RestoreError> {
    let mut filled = 0;
    while let Some(room) = into.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(RestoreError::Read(error)),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
