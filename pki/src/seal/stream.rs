//! Long contents under a passphrase, sealed piece by piece, so that neither side holds more than one piece.
//!
//! A key is derived from the passphrase (PBKDF2-HMAC-SHA-256, RFC 8018 section 5.2: what both crypto backends have), and each piece is sealed
//! by [`super::seal`] under it for its place: the digest of what stands before the first piece, its number, and whether it is the last.
//! So a piece that was changed, moved, repeated, left out or taken from another stream does not open, and neither does a stream that was
//! cut: its end is no last piece.

use std::num::NonZeroU32;

use zeroize::Zeroizing;

use super::{SEALING_RANDOM_BYTES, SealError, open, seal};
use crate::crypto::TAG_BYTES;
use crate::crypto::passphrase::{CipherKey, Prf, pbkdf2};
use crate::{Passphrase, Sha256Digest, Sha256Hasher};

/// The bytes of each piece but the last, which has fewer.
pub const PIECE_BYTES: usize = 64 * 1024;
/// The same when sealed.
pub const SEALED_PIECE_BYTES: usize = PIECE_BYTES + SEALING_RANDOM_BYTES + TAG_BYTES;
/// What stands before the first piece: the salt and, big-endian, the iterations.
pub const HEADER_BYTES: usize = SALT_BYTES + 4;
/// Random bytes that a stream takes at its beginning.
pub const SALT_BYTES: usize = 16;

/// Iterations of PBKDF2 when a stream is written.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");
/// The most that are done for a stream that is read: seconds.
const MAX_ITERATIONS: u32 = 10_000_000;

const LABEL: &[u8] = b"signet sealed stream v1";

/// Why nothing was sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The header asks for no work, or for more than a reader does.
    #[error(
        "it asks for {found} iterations of PBKDF2, 1 to {MAX_ITERATIONS} are done: it was changed, or is no file of this kind"
    )]
    Iterations {
        /// How many it asks for.
        found: u32,
    },
    /// The first piece does not open.
    #[error("the passphrase is another one, or its beginning was changed")]
    Beginning,
    /// A later piece does not open.
    #[error("it was changed, or cut, in piece {piece}")]
    Piece {
        /// Which, from 0.
        piece: u64,
    },
    /// A piece that is no piece: too long for its place, or after the last.
    #[error("piece {piece} is too long, or stands behind the last")]
    Shape {
        /// Which, from 0.
        piece: u64,
    },
    /// The backend did not seal.
    #[error(transparent)]
    Seal(SealError),
}

/// One end of a stream: what the next piece is sealed for.
struct Place {
    key: CipherKey,
    beginning: Sha256Digest,
    piece: u64,
    is_over: bool,
}

impl Place {
    fn new(passphrase: &Passphrase, context: &[u8], header: &[u8; HEADER_BYTES], iterations: NonZeroU32) -> Self {
        let (salt, _) = header.split_at(SALT_BYTES);
        let mut hasher = Sha256Hasher::new();
        hasher.update(context);
        hasher.update(header);
        let key = pbkdf2(Prf::HmacSha256, passphrase.bytes(), salt, iterations);
        Self { key, beginning: hasher.finish(), piece: 0, is_over: false }
    }

    /// What the next piece of so many bytes is sealed for; then the place is that of the one after it.
    fn step(&mut self, length: usize) -> Result<(u64, Vec<u8>), StreamError> {
        let piece = self.piece;
        if self.is_over || length > PIECE_BYTES {
            return Err(StreamError::Shape { piece });
        }
        self.is_over = length < PIECE_BYTES;
        self.piece = piece.checked_add(1).ok_or(StreamError::Shape { piece })?;
        Ok((piece, [LABEL, &self.beginning, &piece.to_be_bytes(), &[u8::from(self.is_over)]].concat()))
    }
}

/// Seals a stream.
pub struct StreamSealer {
    place: Place,
    header: [u8; HEADER_BYTES],
}

impl StreamSealer {
    /// Begins one; `context` says what it is a stream of, and its reader must say the same. `salt` must not be used twice.
    #[must_use]
    pub fn new(passphrase: &Passphrase, context: &[u8], salt: [u8; SALT_BYTES]) -> Self {
        let mut header = [0; HEADER_BYTES];
        let (first, last) = header.split_at_mut(SALT_BYTES);
        first.copy_from_slice(&salt);
        last.copy_from_slice(&ITERATIONS.get().to_be_bytes());
        Self { place: Place::new(passphrase, context, &header, ITERATIONS), header }
    }

    /// What is to stand before the first piece.
    #[must_use]
    pub fn header(&self) -> &[u8; HEADER_BYTES] {
        &self.header
    }

    /// Seals the next piece: [`PIECE_BYTES`], or fewer in the last one, which there must be, if of no bytes.
    ///
    /// # Errors
    /// [`StreamError::Shape`] for a longer one and for any behind the last.
    pub fn seal(&mut self, piece: &[u8], random: [u8; SEALING_RANDOM_BYTES]) -> Result<Vec<u8>, StreamError> {
        let (_, place) = self.place.step(piece.len())?;
        seal(self.place.key.as_slice(), &place, piece, random).map_err(StreamError::Seal)
    }
}

/// Opens a stream.
pub struct StreamOpener(Place);

impl StreamOpener {
    /// Begins to read one with this header.
    ///
    /// # Errors
    /// [`StreamError::Iterations`].
    pub fn new(passphrase: &Passphrase, context: &[u8], header: &[u8; HEADER_BYTES]) -> Result<Self, StreamError> {
        let (_, iterations) = header.split_at(SALT_BYTES);
        let found = iterations.iter().fold(0, |sum: u32, byte| sum << 8 | u32::from(*byte));
        let iterations = NonZeroU32::new(found).filter(|count| count.get() <= MAX_ITERATIONS);
        let iterations = iterations.ok_or(StreamError::Iterations { found })?;
        Ok(Self(Place::new(passphrase, context, header, iterations)))
    }

    /// Opens the next piece: [`SEALED_PIECE_BYTES`], or fewer, which makes it the last.
    ///
    /// # Errors
    /// [`StreamError`]; nothing of the stream is to be used then.
    pub fn open(&mut self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StreamError> {
        let length = sealed.len().saturating_sub(SEALED_PIECE_BYTES - PIECE_BYTES);
        let (piece, place) = self.0.step(length)?;
        open(self.0.key.as_slice(), &place, sealed).map_err(|_| match piece {
            0 => StreamError::Beginning,
            piece => StreamError::Piece { piece },
        })
    }

    /// Whether the last piece was opened.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: &[u8] = b"a test";
    const SALT: [u8; SALT_BYTES] = [9; SALT_BYTES];

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
    }

    /// As few iterations as there can be: their number is not what is tested.
    fn cheap() -> [u8; HEADER_BYTES] {
        let mut header = [9; HEADER_BYTES];
        header[SALT_BYTES..].copy_from_slice(&1_u32.to_be_bytes());
        header
    }

    fn sealed(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let place = Place::new(&passphrase("right"), CONTEXT, &cheap(), NonZeroU32::MIN);
        let mut sealer = StreamSealer { place, header: cheap() };
        let seal = |(number, piece): (usize, &&[u8])| sealer.seal(piece, [u8::try_from(number).unwrap(); SEALING_RANDOM_BYTES]);
        pieces.iter().enumerate().map(seal).collect::<Result<_, _>>().unwrap()
    }

    fn opened(context: &[u8], secret: &str, pieces: &[Vec<u8>]) -> Result<Vec<u8>, StreamError> {
        let mut opener = StreamOpener::new(&passphrase(secret), context, &cheap())?;
        let mut content = Vec::new();
        for piece in pieces {
            content.extend_from_slice(&opener.open(piece)?);
        }
        if opener.is_over() { Ok(content) } else { Err(StreamError::Piece { piece: u64::MAX }) }
    }

    #[test]
    fn a_stream_comes_back_as_it_was_and_costs_what_is_written_down() {
        let full = vec![7; PIECE_BYTES];
        let pieces = sealed(&[&full, b"rest"]);
        assert_eq!(pieces[0].len(), SEALED_PIECE_BYTES);
        assert_eq!(opened(CONTEXT, "right", &pieces).unwrap(), [&full[..], b"rest"].concat());
        assert_eq!(opened(CONTEXT, "right", &sealed(&[b""])).unwrap(), b"");
        let real = StreamSealer::new(&passphrase("right"), CONTEXT, SALT);
        assert_eq!(real.header()[SALT_BYTES..], 600_000_u32.to_be_bytes());
    }

    #[test]
    fn another_passphrase_another_context_and_any_changed_byte_are_refused() {
        let pieces = sealed(&[&[7; PIECE_BYTES], b"rest"]);
        assert_eq!(opened(CONTEXT, "wrong", &pieces), Err(StreamError::Beginning));
        assert_eq!(opened(b"other", "right", &pieces), Err(StreamError::Beginning));
        for at in [0, SEALING_RANDOM_BYTES, SEALED_PIECE_BYTES - 1] {
            let mut changed = pieces.clone();
            changed[0][at] ^= 1;
            assert_eq!(opened(CONTEXT, "right", &changed), Err(StreamError::Beginning), "byte {at}");
        }
        let mut changed = pieces.clone();
        changed[1][SEALING_RANDOM_BYTES] ^= 1;
        assert_eq!(opened(CONTEXT, "right", &changed), Err(StreamError::Piece { piece: 1 }));
        let mut header = cheap();
        header[0] ^= 1;
        let mut other = StreamOpener::new(&passphrase("right"), CONTEXT, &header).unwrap();
        assert_eq!(other.open(&pieces[0]), Err(StreamError::Beginning), "the salt");
    }

    #[test]
    fn pieces_that_are_missing_moved_repeated_cut_or_added_are_refused() {
        let full = [vec![1; PIECE_BYTES], vec![2; PIECE_BYTES]];
        let good = sealed(&[&full[0], &full[1], b"end"]);
        let pick = |order: &[usize]| order.iter().map(|index| good[*index].clone()).collect::<Vec<_>>();
        assert!(opened(CONTEXT, "right", &pick(&[0, 1, 2])).is_ok());
        for order in [&[0, 1][..], &[0, 2], &[1, 0, 2], &[0, 0, 2], &[0, 1, 1], &[0], &[2]] {
            assert!(opened(CONTEXT, "right", &pick(order)).is_err(), "{order:?}");
        }
        assert_eq!(opened(CONTEXT, "right", &pick(&[0, 1, 2, 2])), Err(StreamError::Shape { piece: 3 }));
        let mut cut = good.clone();
        cut[1].truncate(SEALED_PIECE_BYTES - 1);
        assert_eq!(opened(CONTEXT, "right", &cut), Err(StreamError::Piece { piece: 1 }));
        let mut longer = good.clone();
        longer[0].push(0);
        assert_eq!(opened(CONTEXT, "right", &longer), Err(StreamError::Shape { piece: 0 }));
        let mut added = good;
        added[2].push(0);
        assert_eq!(opened(CONTEXT, "right", &added), Err(StreamError::Piece { piece: 2 }));
    }

    #[test]
    fn a_header_cannot_make_its_reader_work_for_hours() {
        for (iterations, is_read) in [(0, false), (1, true), (MAX_ITERATIONS + 1, false), (u32::MAX, false)] {
            let mut header = [0; HEADER_BYTES];
            header[SALT_BYTES..].copy_from_slice(&iterations.to_be_bytes());
            let read = StreamOpener::new(&passphrase("right"), CONTEXT, &header).map(drop);
            assert_eq!(read.is_ok(), is_read, "{iterations}");
        }
    }
}
