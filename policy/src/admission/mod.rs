//! Which version of an object counts.
//!
//! One that is refused keeps its last good version. One that never had any counts as the strictest of its kind on what it selects: an
//! ALLOW policy allows nothing, a DENY or CUSTOM policy denies, peers use mutual TLS, no token is valid, a role grants nothing. Where
//! that would hold for the whole mesh it does not count at all, with an alarm, unless [`AdmissionOptions::strict_root`] is set: one typing
//! error of an operator must not stop a mesh, and nothing that was enforced before is lost by it.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{Code, Diagnostic, Subject};
use crate::objects::{Kind, Metadata, Object, ObjectId, Outcome, ReadObject, Reading};

/// What is admitted how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionOptions {
    /// The namespace whose objects hold for the mesh (MeshConfig `rootNamespace`).
    pub root_namespace: String,
    /// Whether an object that holds for the mesh counts as the strictest of its kind too, where it never had a good version.
    pub strict_root: bool,
}

impl Default for AdmissionOptions {
    /// Root namespace `istio-system`, not strict.
    fn default() -> Self {
        Self { root_namespace: "istio-system".to_owned(), strict_root: false }
    }
}

/// Why an object counts in the version in which it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// It is what was written last.
    AsWritten,
    /// What was written last is refused: this is what was written before.
    LastGood,
    /// What was written is refused, and there was nothing before: this is the strictest of its kind.
    Strictest,
}

/// An object in the version that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The version that counts.
    pub object: Object,
    /// Why it is this one.
    pub basis: Basis,
}

/// The objects that count, and what was good of them.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    options: AdmissionOptions,
    /// Every object that is there and counts.
    standing: BTreeMap<ObjectId, Standing>,
    /// Those that are refused and hold for the mesh: they are there and do not count.
    refused: BTreeSet<ObjectId>,
}

impl Admission {
    /// Nothing is there yet.
    #[must_use]
    pub fn new(options: AdmissionOptions) -> Self {
        Self { options, standing: BTreeMap::new(), refused: BTreeSet::new() }
    }

    /// The objects that count, in the order of their kinds, namespaces and names.
    pub fn objects(&self) -> impl Iterator<Item = (&ObjectId, &Standing)> {
        self.standing.iter()
    }

    /// One object, if it counts.
    #[must_use]
    pub fn get(&self, id: &ObjectId) -> Option<&Standing> {
        self.standing.get(id)
    }

    /// Objects that are there and do not count, since they are refused and would hold for the whole mesh.
    pub fn refused(&self) -> impl Iterator<Item = &ObjectId> {
        self.refused.iter()
    }

    /// Takes a reading of everything that there is: what it lacks is gone.
    ///
    /// While a document of it is refused of which nobody can tell whose it is, nothing is gone: it could be that one.
    pub fn replace(&mut self, reading: Reading) -> Vec<Diagnostic> {
        let there: BTreeSet<ObjectId> = reading.objects.iter().map(|object| object.id.clone()).collect();
        let unidentified = reading.unidentified > 0;
        let mut diagnostics = self.apply(reading);
        let missing: Vec<ObjectId> = self.ids().filter(|id| !there.contains(id)).cloned().collect();
        for id in missing {
            if !unidentified {
                self.remove(&id);
                continue;
            }
            diagnostics.push(said(&id, 0, Code::KeptWhileUnread, "a document that cannot be read may be this object"));
            if let Some(standing) = self.standing.get_mut(&id).filter(|standing| standing.basis == Basis::AsWritten) {
                standing.basis = Basis::LastGood;
            }
        }
        diagnostics
    }

    fn ids(&self) -> impl Iterator<Item = &ObjectId> {
        self.standing.keys().chain(&self.refused)
    }

    /// Takes a reading of some objects: others stay as they are.
    pub fn apply(&mut self, reading: Reading) -> Vec<Diagnostic> {
        let mut diagnostics = reading.diagnostics;
        let mut by_id: BTreeMap<ObjectId, ReadObject> = BTreeMap::new();
        let mut twice = BTreeSet::new();
        for object in reading.objects {
            match by_id.get(&object.id) {
                // What is there twice and the same is there once.
                Some(other) if other.outcome == object.outcome => {}
                Some(other) => {
                    if twice.insert(object.id.clone()) {
                        let what = format!("the documents {} and {} are this object", other.document, object.document);
                        diagnostics.push(said(&object.id, object.document, Code::ObjectTwice, what));
                    }
                }
                None => drop(by_id.insert(object.id.clone(), object)),
            }
        }
        for (id, object) in by_id {
            let outcome = if twice.contains(&id) {
                // Which one is meant is unknown, and so is whom it selects.
                let metadata = Metadata { name: id.name.clone(), namespace: id.namespace.clone(), ..Metadata::default() };
                Outcome::Refused { strictest: Object::strictest(id.kind, metadata) }
            } else {
                object.outcome
            };
            diagnostics.extend(self.settle(id, object.document, outcome));
        }
        diagnostics
    }

    /// An object is gone, and what was good of it.
    pub fn remove(&mut self, id: &ObjectId) {
        self.standing.remove(id);
        self.refused.remove(id);
    }

    fn settle(&mut self, id: ObjectId, document: usize, outcome: Outcome) -> Option<Diagnostic> {
        let strictest = match outcome {
            Outcome::Accepted(object) => {
                self.refused.remove(&id);
                self.standing.insert(id, Standing { object, basis: Basis::AsWritten });
                return None;
            }
            Outcome::Refused { strictest } => strictest,
        };
        if let Some(standing) = self.standing.get_mut(&id).filter(|standing| standing.basis != Basis::Strictest) {
            standing.basis = Basis::LastGood;
            return Some(said(&id, document, Code::LastGoodStands, "what is written now is refused"));
        }
        const WHAT: &str = "it is refused, and there was no good version before";
        if self.holds_for_mesh(&id) && !self.options.strict_root {
            let told = said(&id, document, Code::RootRefused, WHAT);
            self.refused.insert(id);
            return Some(told);
        }
        let told = said(&id, document, Code::StrictestStands, WHAT);
        self.standing.insert(id, Standing { object: strictest, basis: Basis::Strictest });
        Some(told)
    }

    /// Whether an object reaches beyond its namespace. Those of Istio 1.1 in a namespace do not, apart from RbacConfig, of which there is one.
    fn holds_for_mesh(&self, id: &ObjectId) -> bool {
        match id.kind {
            Kind::MeshPolicy | Kind::ClusterRbacConfig | Kind::RbacConfig => true,
            Kind::AuthorizationPolicy | Kind::PeerAuthentication | Kind::RequestAuthentication | Kind::DestinationRule => {
                id.namespace == self.options.root_namespace
            }
            Kind::Policy | Kind::ServiceRole | Kind::ServiceRoleBinding => false,
        }
    }
}

fn said(id: &ObjectId, document: usize, code: Code, what: impl Into<String>) -> Diagnostic {
    let kind = id.kind.as_str().to_owned();
    let subject = Subject { document, kind, namespace: id.namespace.clone(), name: id.name.clone() };
    Diagnostic { code, severity: code.severity(), subject, field: String::new(), at: None, what: what.into() }
}

#[cfg(test)]
mod tests;
