//! Replicas and leases: rows that move by compare-and-swap within the one writer's transaction.

use super::connection::{Connection, Row};
use futures_util::future::BoxFuture;
use identity::ReplicaName;
use pki::{Sha256Digest, Timestamp};

use super::columns::{all, digest, first, integer, number, optional, parsed, run, seconds, time, unreadable};
use super::readers::Engine;
use super::store::SqlStore;
use super::writer::Unit;
use super::{issuance, issuer_requests};
use crate::audit::{Action, Actor, AuditEvent, ReplicaAction};
use crate::authority::lifecycle::{AuthorityKind, AuthorityName};
use crate::issuance::{Intent, LedgerError};
use crate::store::{Fence, IssuerRequest, Lease, LeaseError, LeaseName, Registration, ReplicaRecord, ReplicaStore, StoreError};

impl<E: Engine> ReplicaStore for SqlStore<E> {
    fn is_shared(&self) -> bool {
        E::IS_SHARED
    }

    fn register(
        &self,
        registration: Registration,
        silent: Option<Lease>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<u64, LeaseError>> {
        Box::pin(self.writer.write(move |unit| register(unit, &registration, &Claim { is_shared: E::IS_SHARED, silent }, now)))
    }

    fn take_lead(&self, fence: Fence, silent: Option<Lease>, now: Timestamp) -> BoxFuture<'_, Result<u64, LeaseError>> {
        Box::pin(self.writer.write(move |unit| take_lead(unit, &fence, &Claim { is_shared: E::IS_SHARED, silent }, now)))
    }

    fn beat(&self, fence: Fence, now: Timestamp) -> BoxFuture<'_, Result<Option<u64>, StoreError>> {
        Box::pin(self.writer.write(move |unit| beat(unit, &fence, now)))
    }

    fn give_up(&self, fence: Fence) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| give_up(unit, &fence)))
    }

    fn lead(&self) -> BoxFuture<'_, Result<Option<Lease>, StoreError>> {
        Box::pin(self.readers.read(|connection| find(connection, &LeaseName::Lead)))
    }

    fn replicas(&self) -> BoxFuture<'_, Result<Vec<ReplicaRecord>, StoreError>> {
        Box::pin(self.readers.read(list))
    }

    fn ask_issuer(&self, fence: Fence, request: IssuerRequest, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| issuer_requests::ask(unit, &fence, &request, now)))
    }

    fn issuer_answer(&self, request: IssuerRequest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(self.readers.read(move |connection| issuer_requests::answer_to(connection, &request)))
    }

    fn issuer_requests(&self) -> BoxFuture<'_, Result<Vec<IssuerRequest>, StoreError>> {
        Box::pin(self.readers.read(issuer_requests::open))
    }

    fn claim_issuer(&self, fence: Fence, request: IssuerRequest) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.writer.write(move |unit| issuer_requests::claim(unit, &fence, &request)))
    }

    fn answer_issuer(
        &self,
        fence: Fence,
        request: IssuerRequest,
        certificate_der: Vec<u8>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| issuer_requests::answer(unit, &fence, &request, &certificate_der)))
    }

    fn forget_issuer(&self, fence: Fence, name: AuthorityName) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| issuer_requests::forget(unit, &fence, name)))
    }

    fn retire_replica(&self, fence: Fence, seen: Lease, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| retire(unit, &fence, &seen, actor, now)))
    }

    fn forget_replica(&self, fence: Fence, replica: ReplicaName, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.write(move |unit| forget(unit, &fence, replica, now)))
    }

    fn persist_fenced(&self, fence: Fence, intent: Intent) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let written: Result<(), StoreError> = self
                .writer
                .write(move |unit| {
                    check(unit.connection(), &fence)?;
                    issuance::intend(unit, intent)
                })
                .await;
            Ok(written?)
        })
    }
}

/// That a process still is what it writes as.
///
/// # Errors
/// [`StoreError::Fenced`].
pub(in crate::store) fn check(connection: Connection<'_>, fence: &Fence) -> Result<(), StoreError> {
    require(connection, &LeaseName::Replica(fence.replica.clone()), fence.epoch)?;
    match fence.lead {
        Some(epoch) => require(connection, &LeaseName::Lead, epoch),
        None => Ok(()),
    }
}

/// The same, and that it leads.
///
/// # Errors
/// [`StoreError::Fenced`].
pub(in crate::store) fn check_leads(connection: Connection<'_>, fence: &Fence) -> Result<(), StoreError> {
    check(connection, fence)?;
    match fence.lead {
        Some(_) => Ok(()),
        None => Err(StoreError::Fenced { lease: LeaseName::Lead, epoch: 0 }),
    }
}

/// What the rotation of a kind is moved by: a root by who leads, what is a replica's own by that replica.
///
/// # Errors
/// [`StoreError::Fenced`].
pub(in crate::store) fn check_may_rotate(
    connection: Connection<'_>,
    fence: &Fence,
    kind: AuthorityKind,
) -> Result<(), StoreError> {
    match kind {
        AuthorityKind::Root => check_leads(connection, fence),
        AuthorityKind::Issuer | AuthorityKind::Jwt => check(connection, fence),
    }
}

fn require(connection: Connection<'_>, name: &LeaseName, epoch: u64) -> Result<(), StoreError> {
    let holds = find(connection, name)?.is_some_and(|lease| lease.epoch == epoch && lease.instance.is_some());
    if holds { Ok(()) } else { Err(StoreError::Fenced { lease: name.clone(), epoch }) }
}

/// By what somebody asks for a lease.
struct Claim {
    is_shared: bool,
    silent: Option<Lease>,
}

impl Claim {
    /// Whether a lease that is there may be taken by `instance`.
    fn allows(&self, lease: &Lease, instance: &Sha256Digest) -> bool {
        let is_free = lease.instance.is_none_or(|holder| holder == *instance);
        !self.is_shared || is_free || self.silent.as_ref() == Some(lease)
    }
}

fn register(unit: &mut Unit<'_>, registration: &Registration, claim: &Claim, now: Timestamp) -> Result<u64, LeaseError> {
    let Registration { replica, serial_byte, address, instance } = registration;
    let byte = serial_byte.get();
    let sql = "SELECT name FROM replicas WHERE serial_byte = ?1 AND name <> ?2";
    let owner = (i64::from(byte), replica.as_str());
    if let Some(by) = first(unit.connection(), sql, owner, |row| parsed(row, "name", ReplicaName::parse))? {
        return Err(LeaseError::Byte { byte, by });
    }
    let name = LeaseName::Replica(replica.clone());
    let (epoch, is_news) = take(unit.connection(), &name, replica, instance, claim)?;
    let sql = "SELECT serial_byte, address FROM replicas WHERE name = ?1";
    let known = first(unit.connection(), sql, [replica.as_str()], |row| {
        Ok((number(row, "serial_byte")?, row.get::<String>("address")?))
    })?;
    run(
        unit.connection(),
        "INSERT INTO replicas (name, serial_byte, address, seen_at, instance) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (name) DO UPDATE SET serial_byte = ?2, address = ?3, seen_at = ?4, instance = ?5",
        (replica.as_str(), i64::from(byte), address, seconds(now), *instance),
    )?;
    if claim.is_shared {
        // What was stored before there were replicas is that of the first one.
        let own = [replica.as_str()];
        run(unit.connection(), "UPDATE authorities SET replica = ?1 WHERE replica IS NULL AND kind <> 'root'", own)?;
        run(unit.connection(), "UPDATE rotations SET replica = ?1 WHERE replica = '' AND kind <> 'root'", own)?;
    }
    let is_same = known.is_some_and(|known| known == (u64::from(byte), address.clone()));
    if claim.is_shared && (is_news || !is_same) {
        let action = ReplicaAction::Registered { replica: replica.clone(), serial_byte: byte, address: address.clone(), epoch };
        unit.audit(&AuditEvent { actor: Actor::System, action: Action::Replica(action) }, now)?;
    }
    Ok(epoch)
}

fn take_lead(unit: &mut Unit<'_>, fence: &Fence, claim: &Claim, now: Timestamp) -> Result<u64, LeaseError> {
    let own = LeaseName::Replica(fence.replica.clone());
    require(unit.connection(), &own, fence.epoch)?;
    let fenced = || StoreError::Fenced { lease: own.clone(), epoch: fence.epoch };
    let instance = find(unit.connection(), &own)?.and_then(|lease| lease.instance).ok_or_else(fenced)?;
    let (epoch, is_news) = take(unit.connection(), &LeaseName::Lead, &fence.replica, &instance, claim)?;
    if claim.is_shared && is_news {
        let action = ReplicaAction::LeadTaken { replica: fence.replica.clone(), epoch };
        unit.audit(&AuditEvent { actor: Actor::System, action: Action::Replica(action) }, now)?;
    }
    Ok(epoch)
}

/// Takes a lease under the next epoch; says also whether another instance had it before.
fn take(
    connection: Connection<'_>,
    name: &LeaseName,
    replica: &ReplicaName,
    instance: &Sha256Digest,
    claim: &Claim,
) -> Result<(u64, bool), LeaseError> {
    let known = find(connection, name)?;
    if let Some(lease) = known.as_ref().filter(|lease| !claim.allows(lease, instance)) {
        return Err(LeaseError::Held { name: name.clone(), lease: lease.clone() });
    }
    let epoch = known.as_ref().map_or(0, |lease| lease.epoch).saturating_add(1);
    run(
        connection,
        "INSERT INTO leases (name, replica, instance, epoch, beat) VALUES (?1, ?2, ?3, ?4, 0)
         ON CONFLICT (name) DO UPDATE SET replica = ?2, instance = ?3, epoch = ?4, beat = 0",
        (name.to_string(), replica.as_str(), *instance, integer(epoch)?),
    )?;
    Ok((epoch, known.is_none_or(|lease| lease.instance != Some(*instance))))
}

fn beat(unit: &mut Unit<'_>, fence: &Fence, now: Timestamp) -> Result<Option<u64>, StoreError> {
    let own = LeaseName::Replica(fence.replica.clone());
    let connection = unit.connection();
    require(connection, &own, fence.epoch)?;
    let lead = match fence.lead.map(|epoch| require(connection, &LeaseName::Lead, epoch).map(|()| epoch)).transpose() {
        Err(StoreError::Fenced { .. }) => None,
        held => held?,
    };
    for name in [Some(own), lead.map(|_| LeaseName::Lead)].into_iter().flatten() {
        run(connection, "UPDATE leases SET beat = beat + 1 WHERE name = ?1", [name.to_string()])?;
    }
    run(connection, "UPDATE replicas SET seen_at = ?2 WHERE name = ?1", (fence.replica.as_str(), seconds(now)))?;
    Ok(lead)
}

fn give_up(unit: &mut Unit<'_>, fence: &Fence) -> Result<(), StoreError> {
    let held = [(LeaseName::Replica(fence.replica.clone()), Some(fence.epoch)), (LeaseName::Lead, fence.lead)];
    for (name, epoch) in held.into_iter().filter_map(|(name, epoch)| Some((name, epoch?))) {
        let sql = "UPDATE leases SET instance = NULL WHERE name = ?1 AND epoch = ?2";
        run(unit.connection(), sql, (name.to_string(), integer(epoch)?))?;
    }
    Ok(())
}

fn retire(unit: &mut Unit<'_>, fence: &Fence, seen: &Lease, actor: Actor, now: Timestamp) -> Result<(), StoreError> {
    check_leads(unit.connection(), fence)?;
    let name = LeaseName::Replica(seen.replica.clone());
    match find(unit.connection(), &name)? {
        // Nobody is behind it, whatever was seen before.
        Some(lease) if lease.instance.is_none() => return Ok(()),
        Some(lease) if lease == *seen => {}
        Some(_) => return Err(StoreError::Changed { what: "lease of the replica", name: seen.replica.to_string() }),
        None => return Err(StoreError::NotFound { what: "replica", name: seen.replica.to_string() }),
    }
    let sql = "UPDATE leases SET instance = NULL, epoch = epoch + 1 WHERE name = ?1";
    run(unit.connection(), sql, [name.to_string()])?;
    let action = ReplicaAction::Retired { replica: seen.replica.clone(), epoch: seen.epoch.saturating_add(1) };
    unit.audit(&AuditEvent { actor, action: Action::Replica(action) }, now)
}

fn forget(unit: &mut Unit<'_>, fence: &Fence, replica: ReplicaName, now: Timestamp) -> Result<(), StoreError> {
    check_leads(unit.connection(), fence)?;
    let sql = "SELECT 1 AS found FROM authorities WHERE replica = ?1 AND slot <> 'revoked'";
    let is_in_force = first(unit.connection(), sql, [replica.as_str()], |_| Ok(()))?.is_some();
    let is_back = find(unit.connection(), &LeaseName::Replica(replica.clone()))?.is_some_and(|lease| lease.instance.is_some());
    if is_in_force || is_back {
        return Err(StoreError::Changed { what: "replica", name: replica.to_string() });
    }
    run(unit.connection(), "DELETE FROM issuer_requests WHERE replica = ?1", [replica.as_str()])?;
    run(unit.connection(), "DELETE FROM rotations WHERE replica = ?1", [replica.as_str()])?;
    if run(unit.connection(), "DELETE FROM replicas WHERE name = ?1", [replica.as_str()])? == 0 {
        return Ok(());
    }
    unit.audit(&AuditEvent { actor: Actor::System, action: Action::Replica(ReplicaAction::Removed { replica }) }, now)
}

fn find(connection: Connection<'_>, name: &LeaseName) -> Result<Option<Lease>, StoreError> {
    first(connection, "SELECT replica, instance, epoch, beat FROM leases WHERE name = ?1", [name.to_string()], read)
}

fn list(connection: Connection<'_>) -> Result<Vec<ReplicaRecord>, StoreError> {
    let sql = "SELECT replicas.name AS name, serial_byte, address, seen_at, replicas.instance AS last_instance, replica, leases.instance AS instance,
                      epoch, beat
               FROM replicas JOIN leases ON leases.name = 'replica ' || replicas.name ORDER BY replicas.name";
    all(connection, sql, (), |row| {
        let serial_byte = number(row, "serial_byte")?;
        Ok(ReplicaRecord {
            name: parsed(row, "name", ReplicaName::parse)?,
            serial_byte: u8::try_from(serial_byte).map_err(|error| unreadable("serial_byte", error))?,
            address: row.get("address")?,
            seen_at: time(row, "seen_at")?,
            instance: digest(row, "last_instance")?,
            lease: read(row)?,
        })
    })
}

fn read(row: &Row<'_>) -> Result<Lease, StoreError> {
    Ok(Lease {
        replica: parsed(row, "replica", ReplicaName::parse)?,
        instance: optional(row, "instance", digest)?,
        epoch: number(row, "epoch")?,
        beat: number(row, "beat")?,
    })
}
