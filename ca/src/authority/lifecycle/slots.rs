//! What an authority is to its lifecycle.

use std::fmt;
use std::str::FromStr;

use pki::{Sha256Digest, Timestamp};

/// What an authority signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthorityKind {
    /// Issuing CAs; it is an X.509 authority of the trust bundle.
    Root,
    /// Leaves.
    Issuer,
    /// JWT-SVIDs; it is a JWT authority of the trust bundle.
    Jwt,
}

impl AuthorityKind {
    /// All, in the order of names.
    pub const ALL: [Self; 3] = [Self::Root, Self::Issuer, Self::Jwt];

    /// As it is written in names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Issuer => "issuer",
            Self::Jwt => "jwt",
        }
    }
}

impl fmt::Display for AuthorityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AuthorityKind {
    type Err = AuthorityNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(AuthorityNameError)
    }
}

/// How operators call an authority: `root-2`, `issuer-7`, `jwt-1`. Never used twice, and short enough for an emergency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityName {
    /// What it signs.
    pub kind: AuthorityKind,
    /// From 1, in the order of preparation.
    pub number: u32,
}

/// Why a text names no authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an authority is named root-N, issuer-N or jwt-N, with N from 1; `signet authority show` lists them")]
pub struct AuthorityNameError;

impl fmt::Display for AuthorityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind, self.number)
    }
}

impl FromStr for AuthorityName {
    type Err = AuthorityNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, number) = text.split_once('-').ok_or(AuthorityNameError)?;
        let name = Self { kind: kind.parse()?, number: number.parse().map_err(|_| AuthorityNameError)? };
        // One text for one name: no sign, no leading zeros.
        if name.number > 0 && name.to_string() == text { Ok(name) } else { Err(AuthorityNameError) }
    }
}

/// Where an authority stands. It goes from left to right, except that [`Slot::Active`] and [`Slot::Old`] may change places once more
/// while the old one is not tainted: that is how an activation is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Decided; key and certificate are being made. In no bundle.
    Making,
    /// Made. A root or JWT key is in the bundle; it signs nothing for others yet.
    Prepared,
    /// Signs.
    Active,
    /// Signs nothing any more; what it signed is still good, so it stays in the bundle.
    Old,
    /// Out of the bundle; its key is destroyed.
    Revoked,
}

impl Slot {
    /// All, in order.
    pub const ALL: [Self; 5] = [Self::Making, Self::Prepared, Self::Active, Self::Old, Self::Revoked];

    /// As it is shown and stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Making => "making",
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Old => "old",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The public part of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// SHA-256 of the SubjectPublicKeyInfo of its key.
    pub key: Sha256Digest,
    /// The certificate as DER; for a JWT key its SubjectPublicKeyInfo.
    pub public_der: Vec<u8>,
    /// From when on it is good.
    pub not_before: Timestamp,
    /// Its last second; a JWT key has none.
    pub not_after: Option<Timestamp>,
}

/// An authority with its standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// How it is called.
    pub name: AuthorityName,
    /// The root over an issuing CA; `None` for the other kinds.
    pub parent: Option<AuthorityName>,
    /// Where it stands.
    pub slot: Slot,
    /// Since when it stands there.
    pub since: Timestamp,
    /// `None` while it is being made, or when it was dropped before it was made.
    pub material: Option<Material>,
    /// The sequence of the first bundle that has it; `None` for what is in no bundle (issuing CAs never are) or was not published yet.
    pub published_in: Option<u64>,
    /// Since when receivers are told to renew what rests on it.
    pub tainted_at: Option<Timestamp>,
    /// The sequence of the first bundle that tells of the taint.
    pub taint_published_in: Option<u64>,
    /// Its private key is gone from this CA: set after [`Slot::Revoked`].
    pub destroyed: bool,
}

impl Authority {
    /// Whether the trust bundle has it.
    #[must_use]
    pub fn is_in_bundle(&self) -> bool {
        self.name.kind != AuthorityKind::Issuer && matches!(self.slot, Slot::Prepared | Slot::Active | Slot::Old)
    }

    /// Whether it is not revoked.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.slot != Slot::Revoked
    }

    /// Whether its certificate has ended. A JWT key does not end by itself.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.material.as_ref().and_then(|material| material.not_after).is_some_and(|not_after| not_after < now)
    }
}
