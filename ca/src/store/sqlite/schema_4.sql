-- Certificates of provisioning authorities that attested a node, or were refused when they might have.
CREATE TABLE provisioning_certificates (
    -- SHA-256 of the issuer's Name.
    issuer BLOB NOT NULL,
    serial BLOB NOT NULL,
    node TEXT NOT NULL,
    not_after INTEGER NOT NULL,
    -- SubjectPublicKeyInfo of the node key that it was used with; NULL while it was only refused.
    bound_key BLOB,
    used_at INTEGER,
    -- Set when its node was evicted or banned: not even the key that used it may come back by it.
    spent INTEGER NOT NULL DEFAULT 0,
    -- How often it was refused, as far as that was audited.
    refusals INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (issuer, serial)
) STRICT, WITHOUT ROWID;
CREATE INDEX provisioning_certificates_by_node ON provisioning_certificates (node);
CREATE INDEX provisioning_certificates_by_end ON provisioning_certificates (not_after);
