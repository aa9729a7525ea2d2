//! What is to be done about one account and its Secret. Pure, and the one place where this is decided: whoever writes asks here with what it
//! has just read.

use std::collections::BTreeMap;

use kubernetes::metadata::ObjectMetadata;
use kubernetes::secrets::Secret;
use pki::Certificate;

use super::content::{Content, IssueReason, Standard, Verdict};
use super::names::{ACCOUNT_ANNOTATION, FIELD_MANAGER, MAX_ACCOUNT_BYTES, SECRET_TYPE};

/// A Secret as far as it is decided on.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// Tells it from another of its name.
    pub(crate) uid: String,
    /// Its version, which a write must find.
    pub(crate) version: String,
    /// Whether a CA of ours wrote it.
    pub(crate) is_ours: bool,
    /// Whether it bears the annotation of its account.
    pub(crate) is_annotated: bool,
    /// The UID of the account that it was made for, if it says so.
    pub(crate) owner: Option<String>,
    /// Its content may not be changed any more.
    pub(crate) is_immutable: bool,
    /// It is about to go.
    pub(crate) is_terminating: bool,
    /// What it holds, or what is wrong with that.
    pub(crate) content: Result<Content, IssueReason>,
}

/// An account, as far as it is decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Tells it from another of its name.
    pub(crate) uid: String,
    /// Somebody has asked for its end.
    pub(crate) is_terminating: bool,
}

/// Why a Secret is written anew with the key and the certificate that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RewriteReason {
    /// The trust bundle is another one.
    Roots,
    /// It lost its annotation.
    Annotation,
}

/// Why a Secret of ours goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeleteReason {
    /// Its account is gone.
    AccountGone,
    /// It was made for an account that had this name before.
    FormerAccount,
    /// It cannot be changed, and must be.
    Immutable,
}

/// Why there is nothing to do for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Its namespace is not managed.
    Unmanaged,
    /// There is neither an account nor a Secret of it.
    Nobody,
    /// One of both is about to go.
    Going,
    /// All is well.
    Good,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing.
    Nothing(Idle),
    /// A new key, and a certificate for it.
    Issue(IssueReason),
    /// The same key and certificate, with all else as it should be.
    Rewrite(RewriteReason),
    /// Away with it.
    Delete(DeleteReason),
    /// Somebody else's Secret has the name: it is left as it is.
    LeaveAlien,
    /// The name of the account is too long for a Secret.
    TooLong,
}

impl Kept {
    /// What counts of a Secret of this account.
    pub(crate) fn of(secret: &Secret, account: &str, interned: impl FnMut(Certificate) -> Certificate) -> Self {
        let is_owner = |kind: &str, name: &str| kind == "ServiceAccount" && name == account;
        let owner = secret.owners.iter().find(|owner| is_owner(&owner.kind, &owner.name)).map(|owner| owner.uid.clone());
        let is_ours = secret.secret_type == SECRET_TYPE && secret.managers.contains(FIELD_MANAGER);
        Self {
            uid: secret.uid.clone(),
            version: secret.version.clone(),
            is_ours,
            is_annotated: secret.annotations.get(ACCOUNT_ANNOTATION).is_some_and(|named| named == account),
            owner,
            is_immutable: secret.is_immutable,
            is_terminating: secret.is_terminating,
            // What is not ours is not looked into.
            content: if is_ours { Content::read(&secret.data, interned) } else { Err(IssueReason::Unreadable) },
        }
    }

    /// What is to be said of its content.
    pub(crate) fn verdict(&self, standard: &Standard<'_>) -> Verdict {
        match &self.content {
            Ok(content) => content.judge(standard),
            Err(reason) => Verdict::Bad(*reason),
        }
    }
}

impl Action {
    /// Whether it takes back what somebody else did, who may do it again at once: such writes are held back where they are many.
    pub(crate) fn is_of_healing(self) -> bool {
        match self {
            Self::Issue(IssueReason::Due | IssueReason::Revoked | IssueReason::Tainted | IssueReason::Asked) => false,
            Self::Issue(_) | Self::Rewrite(_) => true,
            Self::Nothing(_) | Self::Delete(_) | Self::LeaveAlien | Self::TooLong => false,
        }
    }
}

impl Account {
    /// What counts of an account.
    pub(crate) fn of(account: &ObjectMetadata) -> Self {
        Self { uid: account.uid.clone(), is_terminating: account.is_terminating }
    }
}

/// Decides. `verdict` is that of the Secret's content; without a Secret it is not asked.
pub(crate) fn plan(is_managed: bool, name: &str, account: Option<&Account>, secret: Option<(&Kept, Verdict)>) -> Action {
    if !is_managed {
        return Action::Nothing(Idle::Unmanaged);
    }
    if account.is_some() && name.len() > MAX_ACCOUNT_BYTES {
        return Action::TooLong;
    }
    match (account, secret) {
        (None, None) => Action::Nothing(Idle::Nobody),
        (Some(account), None) if account.is_terminating => Action::Nothing(Idle::Going),
        (Some(_), None) => Action::Issue(IssueReason::Missing),
        (None, Some((secret, _))) if !secret.is_ours => Action::Nothing(Idle::Nobody),
        (Some(_), Some((secret, _))) if !secret.is_ours => Action::LeaveAlien,
        (_, Some((secret, _))) if secret.is_terminating => Action::Nothing(Idle::Going),
        (None, Some(_)) => Action::Delete(DeleteReason::AccountGone),
        (Some(account), Some((secret, verdict))) => of_both(account, secret, verdict),
    }
}

fn of_both(account: &Account, secret: &Kept, verdict: Verdict) -> Action {
    if secret.owner.as_ref().is_some_and(|owner| *owner != account.uid) {
        return Action::Delete(DeleteReason::FormerAccount);
    }
    if account.is_terminating {
        return Action::Nothing(Idle::Going);
    }
    let action = match verdict {
        Verdict::Bad(reason) => Action::Issue(reason),
        Verdict::Good { .. } | Verdict::OldRoots { .. } if secret.owner.is_none() => Action::Issue(IssueReason::NoOwner),
        Verdict::OldRoots { .. } => Action::Rewrite(RewriteReason::Roots),
        Verdict::Good { .. } if !secret.is_annotated => Action::Rewrite(RewriteReason::Annotation),
        Verdict::Good { .. } => return Action::Nothing(Idle::Good),
    };
    if secret.is_immutable { Action::Delete(DeleteReason::Immutable) } else { action }
}

/// The annotations of a Secret of this account.
pub(crate) fn annotations(account: &str) -> BTreeMap<&'static str, &str> {
    BTreeMap::from([(ACCOUNT_ANNOTATION, account)])
}

#[cfg(test)]
pub(super) mod tests;
