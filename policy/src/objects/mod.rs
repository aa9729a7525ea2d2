//! The objects of users, typed and validated: one file for each kind.
//!
//! An object is read whole or not at all. One that is refused leaves behind the strictest of its kind on what it selects, for
//! [`crate::admission`] to use where it never had a good version.

mod authorization_policy;
mod condition;
mod envelope;
mod metadata;
mod names;
mod scope;
mod values;

use std::fmt;

use crate::diagnostic::Diagnostic;
use crate::document::Limits;

pub use authorization_policy::{Action, AuthorizationPolicy, Operation, Rule, Source};
pub use condition::Condition;
pub use metadata::{Metadata, Timestamp};
pub use scope::{Labels, Scope, TargetKind, TargetRef};
pub use values::{IpBlock, Match, PathText, PatternText, ServiceAccountName};

/// A kind of object that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `security.istio.io` AuthorizationPolicy.
    AuthorizationPolicy,
}

/// What tells an object from all others. The version of its API does not: `v1` and `v1beta1` are one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty for an object of the cluster.
    pub namespace: String,
    /// The name, as it was written.
    pub name: String,
}

/// An object that was read whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// `security.istio.io` AuthorizationPolicy.
    AuthorizationPolicy(AuthorizationPolicy),
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was read whole.
    Accepted(Object),
    /// It was refused whole.
    Refused {
        /// The strictest of its kind on what it selects, or on its namespace where that cannot be read.
        strictest: Object,
    },
}

/// An object of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadObject {
    /// Which one.
    pub id: ObjectId,
    /// The document that it stands in, from 1.
    pub document: usize,
    /// What became of it.
    pub outcome: Outcome,
}

/// What was found in a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The objects of kinds that are read, in their order.
    pub objects: Vec<ReadObject>,
    /// What is said of them, and of documents that are none.
    pub diagnostics: Vec<Diagnostic>,
    /// How many documents are refused of which nobody can tell whose they are. No last good version can stand in for them.
    pub unidentified: usize,
}

/// How a text is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// How much is read at most.
    pub limits: Limits,
    /// The namespace of objects that name none.
    pub default_namespace: String,
    /// The namespace whose objects hold for the mesh (MeshConfig `rootNamespace`).
    pub root_namespace: String,
    /// Compatibility with Istio 1.1: keys of ServiceRole constraints that do not exist are left out, which widens the permission.
    pub unknown_constraints_ignored: bool,
}

impl Default for ReadOptions {
    /// Namespace `default`, root namespace `istio-system`, nothing ignored.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            default_namespace: "default".to_owned(),
            root_namespace: "istio-system".to_owned(),
            unknown_constraints_ignored: false,
        }
    }
}

/// Reads the objects of a text: YAML or JSON, several documents, lists as `kubectl get -o yaml` writes them.
#[must_use]
pub fn read(text: &str, options: &ReadOptions) -> Reading {
    envelope::read(text, options)
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[Self::AuthorizationPolicy];

    /// As it stands in `kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationPolicy => "AuthorizationPolicy",
        }
    }

    /// Its API group.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Self::AuthorizationPolicy => "security.istio.io",
        }
    }

    /// The versions of it that are read.
    #[must_use]
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Self::AuthorizationPolicy => &["v1", "v1beta1"],
        }
    }

    /// Whether it belongs to the cluster and not to a namespace.
    #[must_use]
    pub fn is_cluster_scoped(self) -> bool {
        match self {
            Self::AuthorizationPolicy => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind.is_cluster_scoped() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

impl Object {
    /// Which one it is.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        let metadata = self.metadata();
        ObjectId { kind: self.kind(), namespace: metadata.namespace.clone(), name: metadata.name.clone() }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
        }
    }

    /// Its name, namespace and age.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::AuthorizationPolicy(policy) => &policy.metadata,
        }
    }
}

#[cfg(test)]
mod tests;
