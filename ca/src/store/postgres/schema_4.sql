-- Several CAs on one database, each with what is its own.

-- A replica is put on record anew at its next start.
DELETE FROM replicas;
-- Which process is it, or was it last, as told apart by its state directory.
ALTER TABLE replicas ADD COLUMN instance BYTEA NOT NULL;

-- Which replica has it; NULL for a root, which is everybody's.
ALTER TABLE authorities ADD COLUMN replica TEXT COLLATE "C";

-- Empty for a root.
ALTER TABLE rotations ADD COLUMN replica TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE rotations DROP CONSTRAINT rotations_pkey;
ALTER TABLE rotations ADD PRIMARY KEY (kind, replica);

-- Issuing CAs that replicas want signed by whoever has the key of the root.
CREATE TABLE issuer_requests (
    -- Whose it will be: each asks for one at a time.
    replica TEXT COLLATE "C" PRIMARY KEY,
    -- The number that it will have.
    number BIGINT NOT NULL CHECK (number BETWEEN 1 AND 4294967295),
    -- The number of the root.
    root BIGINT NOT NULL,
    csr BYTEA NOT NULL,
    asked_at BIGINT NOT NULL,
    -- Who is signing it.
    claimed_by TEXT COLLATE "C",
    -- How often it was asked for again since it was claimed.
    waited BIGINT NOT NULL DEFAULT 0,
    certificate BYTEA
);
