//! What operators had done about the Secrets of service accounts.

/// What was ordered. Each certificate that comes of it has events of its own.
#[derive(Clone, Debug)]
pub enum AccountSecretAction {
    /// New keys and certificates.
    RenewalOrdered {
        /// In which namespace of the cluster.
        namespace: String,
        /// Of which account; `None`: of all there.
        account: Option<String>,
    },
    /// The end of what is left in a namespace that is not managed.
    PruneOrdered {
        /// In which namespace of the cluster.
        namespace: String,
    },
}

impl AccountSecretAction {
    /// See [`AuditEvent::kind`](super::AuditEvent::kind).
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::RenewalOrdered { .. } => "account_secrets_renewal_ordered",
            Self::PruneOrdered { .. } => "account_secrets_prune_ordered",
        }
    }
}
