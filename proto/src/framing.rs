//! How messages lie in the body of a call: "Length-Prefixed-Message" of gRPC over HTTP/2.

/// Follows the messages of one call: a flag, four bytes of length, the message. A decoder makes room for a message as soon as it is
/// announced, so whoever bounds memory counts what is announced.
#[derive(Debug, Default)]
pub struct Framing {
    /// Bytes of the prefix that were read.
    prefix: usize,
    length: u32,
    /// Bytes of the message that are still to come.
    left: usize,
    largest: usize,
    announced: usize,
}

const PREFIX_BYTES: usize = 5;

impl Framing {
    /// Takes the next bytes of the body, however it is cut.
    pub fn read(&mut self, mut bytes: &[u8]) {
        loop {
            let of_message = self.left.min(bytes.len());
            self.left -= of_message;
            bytes = bytes.get(of_message..).unwrap_or_default();
            let Some((first, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.prefix += 1;
            if self.prefix > 1 {
                self.length = self.length << 8 | u32::from(*first);
            }
            if self.prefix == PREFIX_BYTES {
                self.left = usize::try_from(self.length).unwrap_or(usize::MAX);
                let whole = self.left.saturating_add(PREFIX_BYTES);
                self.largest = self.largest.max(whole);
                self.announced = self.announced.saturating_add(whole);
                (self.prefix, self.length) = (0, 0);
            }
        }
    }

    /// Bytes of the largest message announced so far, prefix included.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.largest
    }

    /// Bytes of all messages announced so far, prefixes included.
    #[must_use]
    pub fn announced(&self) -> usize {
        self.announced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_found_however_the_bytes_are_cut() {
        let mut stream = Vec::new();
        for length in [3_u32, 0, 300, 7] {
            stream.push(0);
            stream.extend(length.to_be_bytes());
            stream.extend(std::iter::repeat_n(0xff, usize::try_from(length).unwrap()));
        }
        for piece in [1, 2, 4, 5, 6, 7, 100, 1000] {
            let mut framing = Framing::default();
            stream.chunks(piece).for_each(|bytes| framing.read(bytes));
            let Framing { prefix, left, .. } = framing;
            assert_eq!((framing.largest(), framing.announced(), left, prefix), (305, stream.len(), 0, 0), "in pieces of {piece}");
        }
    }

    #[test]
    fn a_message_counts_as_soon_as_it_is_announced() {
        let mut framing = Framing::default();
        framing.read(&[0, 0, 4, 0]);
        assert_eq!(framing.largest(), 0, "the length is not whole yet");
        framing.read(&[0]);
        assert_eq!((framing.largest(), framing.announced()), (0x0004_0005, 0x0004_0005));
        framing.read(&[0; 1000]);
        assert_eq!((framing.largest(), framing.left), (0x0004_0005, 0x0004_0000 - 1000));
        let mut longest = Framing::default();
        longest.read(&[1, 255, 255, 255, 255]);
        assert_eq!(longest.largest(), 0xffff_ffff + 5);
    }
}
