-- Pods of agents that attested their node, or were refused when they might have.
CREATE TABLE agent_pods (
    cluster TEXT NOT NULL,
    uid TEXT NOT NULL,
    node TEXT NOT NULL,
    -- SubjectPublicKeyInfo of the node key that came from it; NULL while it was only refused.
    bound_key BLOB,
    seen_at INTEGER NOT NULL,
    -- Set when its node was evicted or banned: not even the key that came from it may come back by it.
    spent INTEGER NOT NULL DEFAULT 0,
    -- How often it was refused, as far as that was audited.
    refusals INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (cluster, uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_pods_by_node ON agent_pods (node, seen_at);
