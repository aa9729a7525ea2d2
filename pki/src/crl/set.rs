//! The lists of one trust domain, admitted as a whole.

use std::sync::Arc;

use super::{CrlError, RevocationList, RevocationSetError};
use crate::bundle::foreign_uri_san;
use crate::{Certificate, Timestamp, TrustBundle};

/// The most lists of a set: roots and issuing CAs, those that are being replaced among them.
pub const MAX_REVOCATION_LISTS: usize = 64;

/// The most bytes of all lists of a set, so that they fit in a message.
pub const MAX_REVOCATION_SET_BYTES: usize = 3 * 1024 * 1024;

/// How many CAs may stand between a leaf and its root, so that looking upwards ends.
const MAX_DEPTH: usize = 6;

/// The lists of one trust domain, each verified. `Clone` is cheap; `PartialEq` compares sequence, what is said of their completeness, and
/// each list.
///
/// A list that has gone stale stays: what it names is revoked all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationSet {
    sequence: u64,
    complete: bool,
    complete_for_leaves: bool,
    lists: Arc<[RevocationList]>,
}

impl RevocationSet {
    /// Verifies lists, each given with the certificate of its issuer (both DER): an authority of `bundle`, or a CA below one, over other
    /// issuers of the set if need be. One bad list refuses the whole.
    ///
    /// `complete` says whether each CA of each chain that ends in the bundle has its list here; only their publisher knows.
    ///
    /// # Errors
    /// [`RevocationSetError`].
    pub fn verify<'a>(
        lists: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        sequence: u64,
        complete: bool,
        bundle: &TrustBundle,
    ) -> Result<Self, RevocationSetError> {
        let lists: Vec<_> = lists.into_iter().collect();
        if lists.len() > MAX_REVOCATION_LISTS {
            return Err(RevocationSetError::Count { found: lists.len() });
        }
        let found = lists.iter().fold(0_usize, |sum, (list, _)| sum.saturating_add(list.len()));
        if found > MAX_REVOCATION_SET_BYTES {
            return Err(RevocationSetError::TooLarge { found });
        }
        let refused = |index: usize, source| RevocationSetError::List { number: index + 1, source };
        let mut issuers = Vec::with_capacity(lists.len());
        for (index, (_, issuer)) in lists.iter().enumerate() {
            let issuer = Certificate::from_der(issuer).map_err(|error| refused(index, CrlError::Issuer(error)))?;
            let same_ca =
                |other: &Certificate| other.subject_der() == issuer.subject_der() && other.public_key() == issuer.public_key();
            if issuers.iter().any(same_ca) {
                return Err(RevocationSetError::Duplicate { issuer: issuer.subject() });
            }
            issuers.push(issuer);
        }
        let vouched = vouched(&issuers, bundle);
        let mut verified = Vec::with_capacity(lists.len());
        for (index, ((list, _), issuer)) in lists.iter().zip(&issuers).enumerate() {
            if !vouched.contains(&index) {
                return Err(refused(index, CrlError::UnknownIssuer { issuer: issuer.subject() }));
            }
            verified.push(RevocationList::signed_by(list, issuer.clone()).map_err(|source| refused(index, source))?);
        }
        Ok(Self { sequence, complete, complete_for_leaves: complete, lists: verified.into() })
    }

    /// Its number in the order of changes.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether its publisher says that each CA of each chain that ends in the bundle has its list here.
    #[must_use]
    pub fn says_complete(&self) -> bool {
        self.complete
    }

    /// The same, of which its publisher says whether each CA that signed leaves in force, or may sign some, has its list here; so it is where
    /// the whole is complete.
    #[must_use]
    pub fn with_complete_for_leaves(self, complete_for_leaves: bool) -> Self {
        Self { complete_for_leaves: complete_for_leaves || self.complete, ..self }
    }

    /// See [`Self::with_complete_for_leaves`].
    #[must_use]
    pub fn says_complete_for_leaves(&self) -> bool {
        self.complete_for_leaves
    }

    /// The same without the lists that do not verify under `bundle`, over other issuers of the set if need be: for lists that were verified
    /// under another bundle than the one in use now.
    #[must_use]
    pub fn under(&self, bundle: &TrustBundle) -> Self {
        let issuers: Vec<_> = self.lists.iter().map(|list| list.issuer().clone()).collect();
        let vouched = vouched(&issuers, bundle);
        let kept = self.lists.iter().enumerate().filter(|(index, _)| vouched.contains(index)).map(|(_, list)| list.clone());
        Self { lists: kept.collect(), ..self.clone() }
    }

    /// The lists, in the order given.
    #[must_use]
    pub fn lists(&self) -> &[RevocationList] {
        &self.lists
    }

    /// Whether a list names the certificate, or a CA above it whose certificate came with its list. A list need not be current for that.
    #[must_use]
    pub fn is_revoked(&self, certificate: &Certificate) -> bool {
        self.names(certificate, MAX_DEPTH)
    }

    fn names(&self, certificate: &Certificate, depth: usize) -> bool {
        self.lists.iter().filter(|list| list.is_for(certificate)).any(|list| {
            list.contains(certificate.serial())
                || (depth > 0 && list.issuer() != certificate && self.names(list.issuer(), depth - 1))
        })
    }

    /// Whether verifiers that want a list of every CA, and each of them current, are content with these at `now`.
    #[must_use]
    pub fn complete_at(&self, now: Timestamp) -> bool {
        self.complete && self.lists.iter().all(|list| list.is_current(now))
    }

    /// As [`Self::complete_at`], and each authority of `bundle` that has not ended has its list: what is known of a bundle that came at
    /// another time than the lists.
    #[must_use]
    pub fn complete_for(&self, bundle: &TrustBundle, now: Timestamp) -> bool {
        let has_list = |authority: &Certificate| {
            self.lists.iter().any(|list| {
                list.issuer().public_key() == authority.public_key() && list.issuer().subject_der() == authority.subject_der()
            })
        };
        self.complete_at(now) && bundle.authorities().iter().filter(|authority| now <= authority.not_after()).all(has_list)
    }

    /// When the first of the lists goes stale that are current at `now`; `None` when none is.
    #[must_use]
    pub fn next_stale_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.lists.iter().filter(|list| list.is_current(now)).map(RevocationList::next_update).min()
    }

    /// All lists as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.lists.iter().map(RevocationList::to_pem).collect()
    }
}

/// The places of those among `issuers` that stand in the bundle, or below one that does, over each other if need be.
fn vouched(issuers: &[Certificate], bundle: &TrustBundle) -> Vec<usize> {
    let authorities = bundle.authorities();
    let own = |issuer: &Certificate| foreign_uri_san(issuer, bundle.trust_domain()).is_none();
    let mut vouched: Vec<usize> = Vec::with_capacity(issuers.len());
    for _ in 0..MAX_DEPTH {
        let before = vouched.len();
        for (index, issuer) in issuers.iter().enumerate() {
            let above = || vouched.iter().filter_map(|above| issuers.get(*above)).chain(authorities);
            if !vouched.contains(&index)
                && own(issuer)
                && (authorities.contains(issuer) || above().any(|above| may_vouch(above, issuer)))
            {
                vouched.push(index);
            }
        }
        if vouched.len() == before {
            break;
        }
    }
    vouched
}

/// Whether `authority` signed `below`, and may have a CA below itself.
pub(super) fn may_vouch(authority: &Certificate, below: &Certificate) -> bool {
    let constraints = authority.basic_constraints();
    let self_issued = below.subject_der() == authority.subject_der();
    below.is_ca()
        && below.issuer_der() == authority.subject_der()
        && constraints.is_some_and(|limits| limits.ca && (self_issued || limits.path_length != Some(0)))
        && authority.key_usage().is_some_and(|usage| usage.key_cert_sign())
        && below.verify_signed_by(authority.public_key()).is_ok()
}
