-- Several CAs on one store, each with what is its own.

-- A replica is put on record anew at its next start.
DROP TABLE replicas;
CREATE TABLE replicas (
    name TEXT PRIMARY KEY,
    -- The first byte of the serials that it makes.
    serial_byte INTEGER NOT NULL UNIQUE CHECK (serial_byte BETWEEN 1 AND 127),
    -- Which process is it, or was it last, as told apart by its state directory.
    instance BLOB NOT NULL,
    -- Where its agents connect.
    address TEXT NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which replica has it; NULL for a root, which is everybody's, and in a file, which one replica has.
ALTER TABLE authorities ADD COLUMN replica TEXT;

CREATE TABLE rotations_of_replicas (
    kind TEXT NOT NULL CHECK (kind IN ('root', 'issuer', 'jwt')),
    -- Empty for a root, and in a file.
    replica TEXT NOT NULL,
    replaced INTEGER NOT NULL CHECK (replaced BETWEEN 1 AND 4294967295),
    started_at INTEGER NOT NULL,
    pace TEXT NOT NULL CHECK (pace IN ('natural', 'taint')),
    aborting INTEGER NOT NULL CHECK (aborting IN (0, 1)),
    accepted_nodes TEXT NOT NULL,
    accepted_leaves INTEGER NOT NULL,
    accepted_tokens INTEGER NOT NULL CHECK (accepted_tokens IN (0, 1)),
    accepted_files INTEGER NOT NULL CHECK (accepted_files IN (0, 1)),
    PRIMARY KEY (kind, replica)
) STRICT, WITHOUT ROWID;
INSERT INTO rotations_of_replicas
SELECT kind, '', replaced, started_at, pace, aborting, accepted_nodes, accepted_leaves, accepted_tokens, accepted_files FROM rotations;
DROP TABLE rotations;
ALTER TABLE rotations_of_replicas RENAME TO rotations;

-- Issuing CAs that replicas want signed by whoever has the key of the root.
CREATE TABLE issuer_requests (
    -- Whose it will be: each asks for one at a time.
    replica TEXT PRIMARY KEY,
    -- The number that it will have.
    number INTEGER NOT NULL CHECK (number BETWEEN 1 AND 4294967295),
    -- The number of the root.
    root INTEGER NOT NULL,
    csr BLOB NOT NULL,
    asked_at INTEGER NOT NULL,
    -- Who is signing it.
    claimed_by TEXT,
    -- How often it was asked for again since it was claimed.
    waited INTEGER NOT NULL DEFAULT 0,
    certificate BLOB
) STRICT, WITHOUT ROWID;
