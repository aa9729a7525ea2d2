-- Relationships with other trust domains.
CREATE TABLE federations (
    trust_domain TEXT PRIMARY KEY,
    endpoint_url TEXT NOT NULL,
    -- Who its server must be; NULL: it is known by its name, under authorities of the web.
    endpoint_spiffe_id TEXT,
    created_at INTEGER NOT NULL,
    -- The newest bundle as its publisher wrote it, its sequence, and when it was taken; NULL before the first.
    document BLOB,
    sequence INTEGER,
    taken_at INTEGER
) STRICT, WITHOUT ROWID;

-- Other trust domains whose bundles the holders of an entry get as well; a JSON list of their names, sorted.
ALTER TABLE entries ADD COLUMN federates_with TEXT NOT NULL DEFAULT '[]';
