-- What was called back before its end, until verifiers know of its end by themselves.

CREATE TABLE revocations (
    serial BLOB PRIMARY KEY,
    -- SHA-256 of the SubjectPublicKeyInfo of the CA that was to sign it; NULL where builds recorded it that did not say.
    issuer_key BLOB,
    subject TEXT NOT NULL,
    caller TEXT NOT NULL,
    not_after INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_by_end ON revocations (not_after);

-- Identities that nothing is issued for.
CREATE TABLE denied_identities (
    spiffe_id TEXT PRIMARY KEY,
    denied_at INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The newest revocation list of each CA.
CREATE TABLE revocation_lists (
    -- SHA-256 of the SubjectPublicKeyInfo of the CA.
    issuer_key BLOB PRIMARY KEY,
    issuer_der BLOB NOT NULL,
    -- The highest number that was to be signed.
    number INTEGER NOT NULL,
    -- The list that was signed last; NULL before the first was.
    list_der BLOB
) STRICT, WITHOUT ROWID;

-- The sequence of what agents are sent of them.
CREATE TABLE revocation_sequence (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    sequence INTEGER NOT NULL,
    -- SHA-256 of the content.
    content BLOB NOT NULL
) STRICT;
