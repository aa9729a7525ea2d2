-- Pods of agents that attested their node, or were refused when they might have.
CREATE TABLE agent_pods (
    cluster TEXT COLLATE "C" NOT NULL,
    uid TEXT COLLATE "C" NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    -- SubjectPublicKeyInfo of the node key that came from it; NULL while it was only refused.
    bound_key BYTEA,
    seen_at BIGINT NOT NULL,
    -- Set when its node was evicted or banned: not even the key that came from it may come back by it.
    spent BIGINT NOT NULL DEFAULT 0,
    -- How often it was refused, as far as that was audited.
    refusals BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (cluster, uid)
);
CREATE INDEX agent_pods_by_node ON agent_pods (node, seen_at);
