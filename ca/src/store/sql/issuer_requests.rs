//! Issuing CAs that replicas want signed by whoever has the key of the root.

use super::connection::{Connection, Row};
use identity::ReplicaName;
use pki::Timestamp;

use super::authorities::small;
use super::columns::{all, first, parsed, run, seconds};
use super::replicas::check;
use super::writer::Unit;
use crate::authority::lifecycle::{AuthorityKind, AuthorityName};
use crate::store::{Change, Fence, IssuerRequest, StoreError};

/// Nothing is signed for a replica behind which nobody is: it was fenced off, or has ended, and its key went with it.
const IS_HELD: &str =
    "EXISTS (SELECT 1 FROM leases WHERE leases.name = 'replica ' || issuer_requests.replica AND leases.instance IS NOT NULL)";

/// How often a request that is claimed is asked for again before another may sign it: whoever claimed it may need long, and may be gone.
const PATIENCE: u32 = 8;

/// The same again changes nothing, so that whoever is signing it is not disturbed.
pub(in crate::store) fn ask(
    unit: &mut Unit<'_>,
    fence: &Fence,
    request: &IssuerRequest,
    now: Timestamp,
) -> Result<(), StoreError> {
    check(unit.connection(), fence)?;
    let IssuerRequest { name, replica: _, root, csr_der } = request;
    let is_news = run(
        unit.connection(),
        "INSERT INTO issuer_requests (replica, number, root, csr, asked_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (replica) DO UPDATE SET number = ?2, root = ?3, csr = ?4, asked_at = ?5, claimed_by = NULL, waited = 0, certificate = NULL
         WHERE issuer_requests.number <> ?2 OR issuer_requests.root <> ?3 OR issuer_requests.csr <> ?4",
        (fence.replica.as_str(), name.number, root.number, csr_der, seconds(now)),
    )?;
    let open = "replica = ?1 AND claimed_by IS NOT NULL AND certificate IS NULL";
    let replica = fence.replica.as_str();
    let is_freed = if is_news == 0 {
        run(unit.connection(), &format!("UPDATE issuer_requests SET waited = waited + 1 WHERE {open}"), [replica])?;
        let sql = format!("UPDATE issuer_requests SET claimed_by = NULL, waited = 0 WHERE {open} AND waited >= ?2");
        run(unit.connection(), &sql, (replica, PATIENCE))?
    } else {
        0
    };
    if is_news + is_freed > 0 {
        unit.changed(Change::Authorities);
    }
    Ok(())
}

pub(in crate::store) fn answer_to(connection: Connection<'_>, request: &IssuerRequest) -> Result<Option<Vec<u8>>, StoreError> {
    let sql =
        "SELECT certificate FROM issuer_requests WHERE replica = ?1 AND number = ?2 AND csr = ?3 AND certificate IS NOT NULL";
    first(connection, sql, (request.replica.as_str(), request.name.number, &request.csr_der), |row| row.get("certificate"))
}

pub(in crate::store) fn open(connection: Connection<'_>) -> Result<Vec<IssuerRequest>, StoreError> {
    let sql = format!(
        "SELECT number, replica, root, csr FROM issuer_requests WHERE certificate IS NULL AND {IS_HELD} ORDER BY replica"
    );
    all(connection, &sql, (), read)
}

pub(in crate::store) fn claim(unit: &mut Unit<'_>, fence: &Fence, request: &IssuerRequest) -> Result<bool, StoreError> {
    check(unit.connection(), fence)?;
    let IssuerRequest { name, replica, root: _, csr_der } = request;
    let claimed = run(
        unit.connection(),
        &format!(
            "UPDATE issuer_requests SET claimed_by = ?4, waited = 0
             WHERE replica = ?1 AND number = ?2 AND csr = ?3 AND certificate IS NULL AND (claimed_by IS NULL OR claimed_by = ?4) AND {IS_HELD}"
        ),
        (replica.as_str(), name.number, csr_der, fence.replica.as_str()),
    )?;
    Ok(claimed > 0)
}

pub(in crate::store) fn answer(
    unit: &mut Unit<'_>,
    fence: &Fence,
    request: &IssuerRequest,
    certificate_der: &[u8],
) -> Result<(), StoreError> {
    check(unit.connection(), fence)?;
    let IssuerRequest { name, replica, root: _, csr_der } = request;
    run(
        unit.connection(),
        "UPDATE issuer_requests SET certificate = ?4
         WHERE replica = ?1 AND number = ?2 AND csr = ?3 AND certificate IS NULL AND claimed_by = ?5",
        (replica.as_str(), name.number, csr_der, certificate_der, fence.replica.as_str()),
    )?;
    unit.changed(Change::Authorities);
    Ok(())
}

pub(in crate::store) fn forget(unit: &mut Unit<'_>, fence: &Fence, name: AuthorityName) -> Result<(), StoreError> {
    check(unit.connection(), fence)?;
    let sql = "DELETE FROM issuer_requests WHERE replica = ?1 AND number = ?2";
    run(unit.connection(), sql, (fence.replica.as_str(), name.number))?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<IssuerRequest, StoreError> {
    Ok(IssuerRequest {
        name: AuthorityName { kind: AuthorityKind::Issuer, number: small(row, "number")? },
        replica: parsed(row, "replica", ReplicaName::parse)?,
        root: AuthorityName { kind: AuthorityKind::Root, number: small(row, "root")? },
        csr_der: row.get("csr")?,
    })
}
