-- The replicas of the CA that share a store, and rights that one of them has at a time.

CREATE TABLE replicas (
    name TEXT PRIMARY KEY,
    -- The first byte of the serials that it makes.
    serial_byte INTEGER NOT NULL UNIQUE CHECK (serial_byte BETWEEN 1 AND 127),
    -- Where its agents connect.
    address TEXT NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
    -- 'lead', or 'replica ' with the name of one.
    name TEXT PRIMARY KEY,
    replica TEXT NOT NULL,
    -- Which process, as told apart by its state directory; NULL after the lease was given up.
    instance BLOB,
    -- Grows with each process that takes it. Writes name it, and an older one is refused.
    epoch INTEGER NOT NULL,
    -- Grows while it is held.
    beat INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
