-- Named sets of nodes; entries that hang on one; hints, ends and revisions of entries.

CREATE TABLE aliases (
    name TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE alias_members (
    alias TEXT NOT NULL REFERENCES aliases (name),
    node TEXT NOT NULL,
    PRIMARY KEY (alias, node)
) STRICT, WITHOUT ROWID;
CREATE INDEX alias_members_by_node ON alias_members (node);

-- Made anew, since the constraint of the old table knows one kind of parent only.
CREATE TABLE entries_anew (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    spiffe_id TEXT NOT NULL,
    -- JSON arrays of texts; selectors sorted and without repeats, so that equal sets are equal texts.
    selectors TEXT NOT NULL,
    parent_node TEXT,
    parent_alias TEXT REFERENCES aliases (name),
    ttl_seconds INTEGER,
    dns_names TEXT NOT NULL,
    hint TEXT NOT NULL,
    -- From here on it grants nothing; NULL: it has no end.
    expires_at INTEGER,
    created_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    CHECK ((parent_node IS NULL) <> (parent_alias IS NULL)),
    -- A NULL differs from every other, so each of these two speaks of its own kind of parent alone.
    UNIQUE (spiffe_id, selectors, parent_node),
    UNIQUE (spiffe_id, selectors, parent_alias)
) STRICT;
INSERT INTO entries_anew
    (position, id, spiffe_id, selectors, parent_node, ttl_seconds, dns_names, hint, created_at, revision)
    SELECT position, id, spiffe_id, selectors, parent, ttl_seconds, dns_names, '', created_at, 1 FROM entries;
DROP TABLE entries;
ALTER TABLE entries_anew RENAME TO entries;
CREATE INDEX entries_by_node ON entries (parent_node);
CREATE INDEX entries_by_alias ON entries (parent_alias);
CREATE INDEX entries_by_end ON entries (expires_at) WHERE expires_at IS NOT NULL;

-- What was issued for an entry, and until when it lives.
CREATE INDEX issuance_by_reason ON issuance (reason, not_after);
