-- The CA's own authorities, the rotations of them that are under way, and what rests on each.

CREATE TABLE authorities (
    kind TEXT NOT NULL CHECK (kind IN ('root', 'issuer', 'jwt')),
    number INTEGER NOT NULL CHECK (number BETWEEN 1 AND 4294967295),
    -- The number of the root over an issuing CA.
    parent INTEGER CHECK ((parent IS NULL) = (kind <> 'issuer')),
    slot TEXT NOT NULL CHECK (slot IN ('making', 'prepared', 'active', 'old', 'revoked')),
    since INTEGER NOT NULL,
    -- SHA-256 of the SubjectPublicKeyInfo, and the public part: NULL, with the start, before it is made.
    key BLOB,
    public_der BLOB CHECK ((public_der IS NULL) = (key IS NULL)),
    not_before INTEGER CHECK ((not_before IS NULL) = (key IS NULL)),
    not_after INTEGER,
    -- Sequences of the first bundle that has it, and of the first that tells of its taint.
    published_in INTEGER,
    tainted_at INTEGER,
    taint_published_in INTEGER,
    destroyed INTEGER NOT NULL CHECK (destroyed IN (0, 1)),
    PRIMARY KEY (kind, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE rotations (
    kind TEXT PRIMARY KEY CHECK (kind IN ('root', 'issuer', 'jwt')),
    -- The number of what is replaced.
    replaced INTEGER NOT NULL CHECK (replaced BETWEEN 1 AND 4294967295),
    started_at INTEGER NOT NULL,
    pace TEXT NOT NULL CHECK (pace IN ('natural', 'taint')),
    aborting INTEGER NOT NULL CHECK (aborting IN (0, 1)),
    -- What an operator accepted to lose; the nodes as a JSON array of texts, sorted.
    accepted_nodes TEXT NOT NULL,
    accepted_leaves INTEGER NOT NULL,
    accepted_tokens INTEGER NOT NULL CHECK (accepted_tokens IN (0, 1)),
    accepted_files INTEGER NOT NULL CHECK (accepted_files IN (0, 1))
) STRICT, WITHOUT ROWID;

-- Which CA was to sign what: every intent but those of CA certificates and of what the CA itself shows.
CREATE TABLE leaves (
    -- SHA-256 of the SubjectPublicKeyInfo of that CA; empty where builds recorded it that did not say.
    issuer_key BLOB NOT NULL,
    not_after INTEGER NOT NULL,
    -- Of its intent.
    position INTEGER NOT NULL,
    -- Digest of who holds it for what; NULL where it is not known.
    holder BLOB,
    PRIMARY KEY (issuer_key, not_after, position)
) STRICT, WITHOUT ROWID;
INSERT INTO leaves (issuer_key, not_after, position)
    SELECT x'', not_after, rowid FROM issuance WHERE reason NOT IN ('authority', 'serving');

-- The newest that is recorded as signed of each holder: those before it are held no more.
CREATE TABLE holders (
    holder BLOB PRIMARY KEY,
    -- The position of its intent.
    newest INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- When the last JWT-SVID ends that a key was to sign.
CREATE TABLE jwt_ends (
    key_id TEXT PRIMARY KEY,
    latest INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO jwt_ends (key_id, latest)
    SELECT key_id, max(ends) FROM (
        SELECT json_extract(body, '$.kid') AS key_id, unixepoch(json_extract(body, '$.expires_at')) AS ends
        FROM audit WHERE kind = 'jwt_svid_intended' AND json_valid(body)
    ) WHERE key_id IS NOT NULL AND ends IS NOT NULL GROUP BY key_id;

-- How far each node was with the bundle when it was last heard.
CREATE TABLE bundle_acknowledgements (
    node TEXT PRIMARY KEY REFERENCES nodes (node) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    -- The sequence that all its workloads had taken, and when the CA heard so; NULL before the first.
    settled INTEGER,
    settled_at INTEGER CHECK ((settled_at IS NULL) = (settled IS NULL))
) STRICT, WITHOUT ROWID;
