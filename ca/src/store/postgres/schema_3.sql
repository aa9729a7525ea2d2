-- Relationships with other trust domains.
CREATE TABLE federations (
    trust_domain TEXT COLLATE "C" PRIMARY KEY,
    endpoint_url TEXT COLLATE "C" NOT NULL,
    -- Who its server must be; NULL: it is known by its name, under authorities of the web.
    endpoint_spiffe_id TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    -- The newest bundle as its publisher wrote it, its sequence, and when it was taken; NULL before the first.
    document BYTEA,
    sequence BIGINT,
    taken_at BIGINT
);

-- Other trust domains whose bundles the holders of an entry get as well; a JSON list of their names, sorted.
ALTER TABLE entries ADD COLUMN federates_with TEXT COLLATE "C" NOT NULL DEFAULT '[]';
