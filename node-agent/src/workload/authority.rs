//! Makes the `:authority` of requests on a Unix socket one that the HTTP/2 server takes.
//!
//! A Unix socket has no authority, so clients make one up: gRPC's C core (Python, C++, Ruby, PHP) sends the socket's path with `%2F`
//! in it, grpc-java the bare path. Neither is a URI authority (RFC 3986 section 3.2), and the server resets such streams with
//! PROTOCOL_ERROR before anything of ours sees them. Nothing depends on the value here, so each literal value of `:authority` is
//! overwritten in place, byte for byte, as the bytes come in: lengths and the compression state (RFC 7541) stay as they were.
//!
//! The reader below understands just enough of frames (RFC 9113 section 4.1) and header blocks to find those values. Whatever it
//! does not understand passes unchanged, from then on for good: the server judges it.

/// Overwrites authorities in what a client sends. One for each connection, fed with all its bytes in order.
#[derive(Debug)]
pub(super) struct AuthorityFilter {
    frames: Frames,
    block: Block,
}

/// Where in a frame the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frames {
    /// Within the connection preface, this many bytes before its end.
    Preface(usize),
    /// Within a frame's header.
    Header { bytes: [u8; FRAME_HEADER_BYTES], have: usize },
    /// The byte that says how much padding ends the frame.
    PadLength { payload: usize, priority: usize },
    /// Bytes that mean nothing here, then a fragment of a header block, then padding.
    Fragment { skip: usize, block: usize, padding: usize },
    /// Any other payload.
    Other { payload: usize },
    /// Not understood: all passes.
    Blind,
}

/// Where in a header block (RFC 7541 section 6) the next byte stands. A block may go on in further frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// A representation begins.
    Start,
    /// An integer that did not fit its prefix goes on: `value` so far, the next seven bits count `1 << shift`.
    Integer { value: usize, shift: u32, then: Then },
    /// The length of a string begins.
    StringLength { role: Role },
    /// Within a string.
    String { role: Role, huffman: bool, length: usize, position: usize, is_authority: bool },
}

/// What an integer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// An index of a whole field, or a table size.
    Done,
    /// An index of a name, whose value follows; zero: the name follows.
    Name,
    /// The length of a string.
    String { role: Role, huffman: bool },
}

/// What a string is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Name,
    Value { of_authority: bool },
}

impl AuthorityFilter {
    /// For a connection of which no byte was read.
    pub(super) fn new() -> Self {
        Self { frames: Frames::Preface(PREFACE_BYTES), block: Block::Start }
    }

    /// Overwrites in `bytes`, the next that were read.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.frames = self.step(byte);
            if self.frames == Frames::Blind {
                return;
            }
        }
    }

    fn step(&mut self, byte: &mut u8) -> Frames {
        match self.frames {
            Frames::Preface(left) => match left {
                0..=1 => FRAME_BEGINS,
                left => Frames::Preface(left - 1),
            },
            Frames::Header { mut bytes, have } => {
                if let Some(place) = bytes.get_mut(have) {
                    *place = *byte;
                }
                if have + 1 < FRAME_HEADER_BYTES { Frames::Header { bytes, have: have + 1 } } else { payload_of(bytes) }
            }
            Frames::PadLength { payload, priority } => {
                let padding = usize::from(*byte);
                match payload.checked_sub(1 + priority + padding) {
                    Some(block) => fragment(priority, block, padding),
                    None => Frames::Blind,
                }
            }
            Frames::Fragment { skip: 0, block: 0, padding } => fragment(0, 0, padding.saturating_sub(1)),
            Frames::Fragment { skip: 0, block, padding } => match self.block.step(byte) {
                Some(next) => {
                    self.block = next;
                    fragment(0, block - 1, padding)
                }
                None => Frames::Blind,
            },
            Frames::Fragment { skip, block, padding } => fragment(skip - 1, block, padding),
            Frames::Other { payload } => other(payload.saturating_sub(1)),
            Frames::Blind => Frames::Blind,
        }
    }
}

fn payload_of([high, middle, low, kind, flags, ..]: [u8; FRAME_HEADER_BYTES]) -> Frames {
    let payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    match kind {
        HEADERS => {
            let priority = if flags & PRIORITY == 0 { 0 } else { PRIORITY_BYTES };
            if flags & PADDED != 0 && payload > 0 {
                return Frames::PadLength { payload, priority };
            }
            payload.checked_sub(priority).map_or(Frames::Blind, |block| fragment(priority, block, 0))
        }
        CONTINUATION => fragment(0, payload, 0),
        _ => other(payload),
    }
}

fn fragment(skip: usize, block: usize, padding: usize) -> Frames {
    if skip + block + padding == 0 { FRAME_BEGINS } else { Frames::Fragment { skip, block, padding } }
}

fn other(payload: usize) -> Frames {
    if payload == 0 { FRAME_BEGINS } else { Frames::Other { payload } }
}

impl Block {
    /// What follows this byte; `None` when it cannot be a header block.
    fn step(self, byte: &mut u8) -> Option<Self> {
        match self {
            Self::Start => {
                let first = *byte;
                let (prefix, then) = match first {
                    // Section 6.1.
                    0x80.. => (0x7f, Then::Done),
                    // Section 6.2.1.
                    0x40..=0x7f => (0x3f, Then::Name),
                    // Section 6.3.
                    0x20..=0x3f => (0x1f, Then::Done),
                    // Sections 6.2.2 and 6.2.3.
                    0x00..=0x1f => (0x0f, Then::Name),
                };
                Some(Self::integer(first, prefix, then))
            }
            Self::Integer { value, shift, then } => {
                if shift > MAX_SHIFT {
                    return None;
                }
                let value = value + (usize::from(*byte & 0x7f) << shift);
                if *byte & 0x80 != 0 {
                    return Some(Self::Integer { value, shift: shift + 7, then });
                }
                Some(Self::after(value, then))
            }
            Self::StringLength { role } => {
                let huffman = *byte & 0x80 != 0;
                Some(Self::integer(*byte, 0x7f, Then::String { role, huffman }))
            }
            Self::String { role, huffman, length, position, mut is_authority } => {
                match role {
                    Role::Name => {
                        let name = if huffman { HUFFMAN_NAME } else { NAME };
                        is_authority &= name.get(position) == Some(byte);
                    }
                    Role::Value { of_authority: true } if huffman => *byte = filler(position, length),
                    Role::Value { of_authority: true } if !byte.is_ascii_alphanumeric() && *byte != b'.' => *byte = b'-',
                    Role::Value { .. } => {}
                }
                let position = position + 1;
                if position < length {
                    return Some(Self::String { role, huffman, length, position, is_authority });
                }
                Some(Self::string_ended(role, is_authority))
            }
        }
    }

    fn integer(first: u8, prefix: u8, then: Then) -> Self {
        let value = first & prefix;
        if value == prefix {
            Self::Integer { value: usize::from(prefix), shift: 0, then }
        } else {
            Self::after(usize::from(value), then)
        }
    }

    fn after(value: usize, then: Then) -> Self {
        match then {
            Then::Done => Self::Start,
            Then::Name if value == 0 => Self::StringLength { role: Role::Name },
            Then::Name => Self::StringLength { role: Role::Value { of_authority: value == AUTHORITY_INDEX } },
            Then::String { role, .. } if value == 0 => Self::string_ended(role, false),
            Then::String { role, huffman } => {
                let name = if huffman { HUFFMAN_NAME } else { NAME };
                Self::String { role, huffman, length: value, position: 0, is_authority: value == name.len() }
            }
        }
    }

    fn string_ended(role: Role, is_authority: bool) -> Self {
        match role {
            Role::Name => Self::StringLength { role: Role::Value { of_authority: is_authority } },
            Role::Value { .. } => Self::Start,
        }
    }
}

/// A byte of a Huffman-coded string of `length` bytes (RFC 7541 section 5.2 and appendix B): as many `a` as there is room for, whose
/// code has five bits, then ones, as padding must be.
fn filler(position: usize, length: usize) -> u8 {
    let coded = length * 8 / 5 * 5;
    (0..8).fold(0, |byte, bit| {
        let at = position * 8 + bit;
        let one = at >= coded || matches!(at % 5, 3 | 4);
        byte << 1 | u8::from(one)
    })
}

/// `PRI * HTTP/2.0` and what follows it (RFC 9113 section 3.4).
const PREFACE_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 9;
const FRAME_BEGINS: Frames = Frames::Header { bytes: [0; FRAME_HEADER_BYTES], have: 0 };
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: usize = 5;
/// Of `:authority` in the static table (RFC 7541 appendix A).
const AUTHORITY_INDEX: usize = 1;
const NAME: &[u8] = b":authority";
/// The same in the code of RFC 7541 appendix B.
const HUFFMAN_NAME: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];
/// No length or index of a header block that the server would take has more than 28 bits.
const MAX_SHIFT: u32 = 21;

#[cfg(test)]
mod tests;
