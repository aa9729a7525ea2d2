//! What a match leads to.

/// Whether a match of a value brings a request nearer to being admitted or to being refused, which settles how a value with more than one
/// reading is read: a repeated header, an identity of an unusual shape, an odd character in an open segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leaning {
    /// A match admits: a positive field of ALLOW, a negative field of DENY. It matches only if every reading does.
    Admits,
    /// A match refuses: a positive field of DENY, a negative field of ALLOW. It matches if any reading does.
    Refuses,
}

impl Leaning {
    /// The leaning of the negative form of a field.
    #[must_use]
    pub fn negated(self) -> Self {
        match self {
            Self::Admits => Self::Refuses,
            Self::Refuses => Self::Admits,
        }
    }
}
