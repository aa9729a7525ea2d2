-- Times are Unix seconds, digests and serials raw bytes.

CREATE TABLE entries (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    spiffe_id TEXT NOT NULL,
    -- JSON arrays of texts; selectors sorted and without repeats, so that equal sets are equal texts.
    selectors TEXT NOT NULL,
    parent TEXT NOT NULL,
    ttl_seconds INTEGER,
    dns_names TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (spiffe_id, selectors, parent)
) STRICT;
CREATE INDEX entries_by_parent ON entries (parent);

CREATE TABLE tokens (
    hash BLOB PRIMARY KEY,
    node TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    -- SubjectPublicKeyInfo of the key that redeemed it.
    bound_key BLOB,
    -- How often it was refused, as far as that was audited.
    refusals INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_by_node ON tokens (node);

CREATE TABLE nodes (
    node TEXT PRIMARY KEY,
    -- SubjectPublicKeyInfo; NULL for a name banned before it attested. UNIQUE: a key finds one node, or one ban.
    node_key BLOB UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('attested', 'banned')),
    attested_at INTEGER NOT NULL,
    current_serial BLOB,
    current_not_after INTEGER,
    previous_serial BLOB,
    previous_not_after INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE issuance (
    serial BLOB NOT NULL UNIQUE,
    tbs_der BLOB NOT NULL,
    subject TEXT NOT NULL,
    caller TEXT NOT NULL,
    reason TEXT NOT NULL,
    not_after INTEGER NOT NULL,
    intended_at INTEGER NOT NULL,
    -- NULL until the signed certificate is known: an intent without result may or may not have been signed.
    certificate_der BLOB,
    answered_at INTEGER
) STRICT;
CREATE INDEX issuance_unanswered ON issuance (intended_at) WHERE answered_at IS NULL;

CREATE TABLE bundles (
    trust_domain TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    content BLOB NOT NULL,
    published_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    previous BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;

-- Where the chain ends, kept apart from the chain, so that a tail that is cut off is missed.
CREATE TABLE audit_head (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    sequence INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
INSERT INTO audit_head (only, sequence, hash) VALUES (1, 0, zeroblob(32));
