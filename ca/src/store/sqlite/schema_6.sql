-- What the CA said of its audit chain, under a signature, over time.
CREATE TABLE audit_checkpoints (
    -- Of the last event that it covers.
    sequence INTEGER PRIMARY KEY,
    trust_domain TEXT NOT NULL,
    head BLOB NOT NULL,
    time INTEGER NOT NULL,
    -- Digest of the checkpoint before; 32 zero bytes in the first.
    previous BLOB NOT NULL,
    -- SubjectPublicKeyInfo.
    public_key BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;

-- Checkpoints under this CA's own key that agents showed and that this store does not have: another history was signed for.
CREATE TABLE audit_forks (
    -- SHA-256 of what is signed.
    digest BLOB PRIMARY KEY,
    -- The node that showed it first.
    node TEXT NOT NULL,
    -- The checkpoint as a document.
    checkpoint TEXT NOT NULL,
    found_at INTEGER NOT NULL,
    -- When an operator said that it was looked into; NULL before.
    acknowledged_at INTEGER
) STRICT, WITHOUT ROWID;
