//! What a group of writes does within its transaction, whatever the engine.

use super::{Command, Rows, Undo, Unit};
use crate::audit::ChainHead;
use crate::revocation::Revoked;
use crate::store::sql::connection::{Connection, DatabaseError};
use crate::store::sql::marks::Marks;
use crate::store::sql::remembered::Generation;
use crate::store::sql::revocations;
use crate::store::{Change, StoreError};

use super::published::Published;

/// What a group wrote, and is to be told once it is committed.
pub(in crate::store) struct Written {
    pub(in crate::store) changes: Vec<Change>,
    /// The new end of the audit chain, if it moved.
    pub(in crate::store) head: Option<ChainHead>,
    entries: Result<i64, StoreError>,
    revoked: Option<Revoked>,
    /// Whether any row was changed.
    pub(in crate::store) changed_rows: bool,
}

impl Written {
    /// After the commit. `head` is the end of the audit chain now.
    pub(in crate::store) fn publish(self, published: &Published, head: u64) {
        let Self { changes, head: _, entries, revoked, changed_rows } = self;
        published.publish_entries(entries);
        if let Some(revoked) = revoked {
            published.publish_revoked(head, revoked);
        }
        if changed_rows {
            published.commits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        published.publish_head(head);
        published.tell(changes);
    }
}

/// Runs the writes of a group within the transaction of `connection`, each of them undone alone if it fails.
///
/// # Errors
/// What lost the transaction.
pub(in crate::store) fn run(
    connection: Connection<'_>,
    group: &mut [Box<dyn Command>],
    mut marks: Marks,
    has_company: bool,
) -> Result<Written, DatabaseError> {
    let rows_before = connection.changed_rows();
    let mut changes = Vec::new();
    for command in group {
        let undo = command.undo();
        if undo == Undo::Savepoint {
            connection.control("SAVEPOINT unit")?;
        }
        let own_rows_before = connection.changed_rows();
        let mut unit = Unit { connection, changes: Vec::new(), marks, has_company };
        let rows = command.apply(&mut unit);
        let Unit { changes: own_changes, marks: own_marks, .. } = unit;
        if let Some(lost) = connection.lost() {
            return Err(lost);
        }
        match (rows, undo) {
            (Rows::Go, Undo::Savepoint) => {
                connection.control("ROLLBACK TO unit")?;
                connection.control("RELEASE unit")?;
            }
            _ if connection.is_stuck() => return Err(undone("a write passed over a failure of the database")),
            (Rows::Stay, undo) => {
                if undo == Undo::Savepoint {
                    connection.control("RELEASE unit")?;
                }
                changes.extend(own_changes);
                marks = own_marks;
            }
            (Rows::Go, Undo::WithTheGroup) if connection.changed_rows() == own_rows_before => {}
            (Rows::Go, Undo::WithTheGroup) => return Err(undone("a write failed after it had changed something")),
        }
    }
    let head = marks.write(connection)?;
    let entries = Generation::read(connection);
    // A revocation that was not published would not count: its group is not committed.
    let revoked = if changes.contains(&Change::Revocations) {
        Some(revocations::snapshot(connection).map_err(|error| undone(&error.to_string()))?)
    } else {
        None
    };
    let changed_rows = connection.changed_rows() != rows_before;
    Ok(Written { changes, head, entries, revoked, changed_rows })
}

/// A group that cannot be committed, though the engine itself would do it.
fn undone(why: &str) -> DatabaseError {
    DatabaseError::Undone(why.to_owned())
}
