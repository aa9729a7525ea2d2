//! Relationships with other trust domains, and their newest bundles.

use futures_util::future::BoxFuture;
use identity::TrustDomain;
use pki::{Timestamp, sha256};

use super::columns::{all, integer, number, optional, parsed, run, seconds, time, unreadable};
use super::connection::{Connection, Row};
use super::readers::Engine;
use super::store::SqlStore;
use super::writer::Unit;
use crate::audit::{Action, Actor, AuditEvent, FederationAction};
use crate::federation::{BundleEndpoint, Federation, ForeignDocument, StoredFederation};
use crate::store::{Change, FederationStore, StoreError};

impl<E: Engine> FederationStore for SqlStore<E> {
    fn federations(&self) -> BoxFuture<'_, Result<Vec<StoredFederation>, StoreError>> {
        Box::pin(self.readers.read(list))
    }

    fn add_federation(
        &self,
        federation: Federation,
        document: Option<ForeignDocument>,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| add(unit, federation, document, actor, now)))
    }

    fn remove_federation(
        &self,
        trust_domain: TrustDomain,
        actor: Actor,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| remove(unit, &trust_domain, actor, now)))
    }

    fn keep_foreign_bundle(
        &self,
        federation: Federation,
        document: ForeignDocument,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| keep(unit, federation, &document, now)))
    }
}

fn list(connection: Connection<'_>) -> Result<Vec<StoredFederation>, StoreError> {
    all(connection, "SELECT * FROM federations ORDER BY trust_domain", (), read)
}

fn add(
    unit: &mut Unit<'_>,
    federation: Federation,
    document: Option<ForeignDocument>,
    actor: Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    let made = run(
        unit.connection(),
        "INSERT INTO federations (trust_domain, endpoint_url, endpoint_spiffe_id, created_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (trust_domain) DO NOTHING",
        (
            federation.trust_domain.as_str(),
            federation.endpoint.url.as_str(),
            federation.endpoint.spiffe_id().map(|id| id.as_str()),
            seconds(federation.created_at),
        ),
    )?;
    if made == 0 {
        return Err(StoreError::Exists { what: "federation", name: federation.trust_domain.to_string() });
    }
    let action = Action::Federation(FederationAction::Added(federation.clone()));
    unit.audit(&AuditEvent { actor, action }, now)?;
    if let Some(document) = document {
        keep(unit, federation, &document, now)?;
    }
    unit.changed(Change::Federations);
    Ok(())
}

fn remove(unit: &mut Unit<'_>, trust_domain: &TrustDomain, actor: Actor, now: Timestamp) -> Result<(), StoreError> {
    let not_found = || StoreError::NotFound { what: "federation", name: trust_domain.to_string() };
    let stored = list(unit.connection())?.into_iter().find(|stored| stored.federation.trust_domain == *trust_domain);
    let StoredFederation { federation, document: _ } = stored.ok_or_else(not_found)?;
    run(unit.connection(), "DELETE FROM federations WHERE trust_domain = ?1", [trust_domain.as_str()])?;
    let action = Action::Federation(FederationAction::Removed(federation));
    unit.audit(&AuditEvent { actor, action }, now)?;
    unit.changed(Change::Federations);
    Ok(())
}

/// A relationship is the same while its endpoint is: an answer that was on its way when it was replaced is of nobody. The sequence is compared
/// here again, since replicas judge for themselves, each by what it knew; one that says none has 0.
fn keep(unit: &mut Unit<'_>, federation: Federation, document: &ForeignDocument, now: Timestamp) -> Result<(), StoreError> {
    let ForeignDocument { json, sequence, taken_at } = document;
    let stored = list(unit.connection())?.into_iter().find(|stored| stored.federation == federation);
    let changed = || StoreError::Changed { what: "relationship with", name: federation.trust_domain.to_string() };
    match stored.ok_or_else(changed)?.document {
        // Another replica was faster.
        Some(before) if before.json == *json => return Ok(()),
        Some(before) if before.sequence > *sequence || (before.sequence == *sequence && *sequence != 0) => return Err(changed()),
        Some(_) | None => {}
    }
    run(
        unit.connection(),
        "UPDATE federations SET document = ?2, sequence = ?3, taken_at = ?4 WHERE trust_domain = ?1",
        (federation.trust_domain.as_str(), json, integer(*sequence)?, seconds(*taken_at)),
    )?;
    let action =
        FederationAction::BundleTaken { trust_domain: federation.trust_domain, sequence: *sequence, content: sha256(json) };
    unit.audit(&AuditEvent { actor: Actor::System, action: Action::Federation(action) }, now)?;
    unit.changed(Change::Federations);
    Ok(())
}

fn read(row: &Row<'_>) -> Result<StoredFederation, StoreError> {
    let trust_domain = parsed(row, "trust_domain", TrustDomain::parse)?;
    let url: String = row.get("endpoint_url")?;
    let spiffe_id: Option<String> = row.get("endpoint_spiffe_id")?;
    let endpoint = BundleEndpoint::new(&trust_domain, &url, spiffe_id.as_deref());
    let endpoint = endpoint.map_err(|error| unreadable("endpoint_url", error))?;
    let document = optional(row, "document", |row, column| {
        Ok(ForeignDocument { json: row.get(column)?, sequence: number(row, "sequence")?, taken_at: time(row, "taken_at")? })
    })?;
    Ok(StoredFederation { federation: Federation { trust_domain, endpoint, created_at: time(row, "created_at")? }, document })
}
