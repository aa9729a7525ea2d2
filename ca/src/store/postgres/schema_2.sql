-- The replicas of the CA that share a store, and rights that one of them has at a time.

CREATE TABLE replicas (
    name TEXT COLLATE "C" PRIMARY KEY,
    -- The first byte of the serials that it makes.
    serial_byte BIGINT NOT NULL UNIQUE CHECK (serial_byte BETWEEN 1 AND 127),
    -- Where its agents connect.
    address TEXT COLLATE "C" NOT NULL,
    seen_at BIGINT NOT NULL
);

CREATE TABLE leases (
    -- 'lead', or 'replica ' with the name of one.
    name TEXT COLLATE "C" PRIMARY KEY,
    replica TEXT COLLATE "C" NOT NULL,
    -- Which process, as told apart by its state directory; NULL after the lease was given up.
    instance BYTEA,
    -- Grows with each process that takes it. Writes name it, and an older one is refused.
    epoch BIGINT NOT NULL,
    -- Grows while it is held.
    beat BIGINT NOT NULL
);
