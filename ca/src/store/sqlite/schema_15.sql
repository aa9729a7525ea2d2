-- Entries that objects of a cluster ask for.

-- Made anew, since the constraint of the old table knows two kinds of parents only.
CREATE TABLE entries_anew (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    spiffe_id TEXT NOT NULL,
    -- JSON arrays of texts; selectors sorted and without repeats, so that equal sets are equal texts.
    selectors TEXT NOT NULL,
    parent_node TEXT,
    parent_alias TEXT REFERENCES aliases (name),
    -- The cluster, and a JSON array of namespace, name and UID of the object there.
    parent_cluster TEXT,
    parent_object TEXT,
    ttl_seconds INTEGER,
    dns_names TEXT NOT NULL,
    hint TEXT NOT NULL,
    -- From here on it grants nothing; NULL: it has no end.
    expires_at INTEGER,
    created_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    -- Other trust domains whose bundles the holders of an entry get as well; a JSON list of their names, sorted.
    federates_with TEXT NOT NULL DEFAULT '[]',
    CHECK ((parent_node IS NOT NULL) + (parent_alias IS NOT NULL) + (parent_cluster IS NOT NULL) = 1),
    CHECK ((parent_cluster IS NULL) = (parent_object IS NULL)),
    -- A NULL differs from every other, so each of these speaks of its own kind of parent alone.
    UNIQUE (spiffe_id, selectors, parent_node),
    UNIQUE (spiffe_id, selectors, parent_alias),
    UNIQUE (spiffe_id, selectors, parent_cluster, parent_object)
) STRICT;
INSERT INTO entries_anew
    (position, id, spiffe_id, selectors, parent_node, parent_alias, ttl_seconds, dns_names, hint, expires_at, created_at, revision,
     federates_with)
    SELECT position, id, spiffe_id, selectors, parent_node, parent_alias, ttl_seconds, dns_names, hint, expires_at, created_at, revision,
     federates_with FROM entries;
DROP TABLE entries;
ALTER TABLE entries_anew RENAME TO entries;
CREATE INDEX entries_by_node ON entries (parent_node);
CREATE INDEX entries_by_alias ON entries (parent_alias);
CREATE INDEX entries_by_cluster ON entries (parent_cluster) WHERE parent_cluster IS NOT NULL;
CREATE INDEX entries_by_end ON entries (expires_at) WHERE expires_at IS NOT NULL;

-- They went with the old table.
CREATE TRIGGER entry_made AFTER INSERT ON entries BEGIN UPDATE entries_generation SET generation = generation + 1; END;
CREATE TRIGGER entry_changed AFTER UPDATE ON entries BEGIN UPDATE entries_generation SET generation = generation + 1; END;
CREATE TRIGGER entry_gone AFTER DELETE ON entries BEGIN UPDATE entries_generation SET generation = generation + 1; END;

-- Which nodes are of a cluster, as agent_pods and nodes say it together, decides what nodes have. A node comes with its pod, and goes with
-- all of its pods spent.
CREATE TRIGGER pod_made AFTER INSERT ON agent_pods BEGIN UPDATE entries_generation SET generation = generation + 1; END;
CREATE TRIGGER pod_changed AFTER UPDATE ON agent_pods BEGIN UPDATE entries_generation SET generation = generation + 1; END;
CREATE TRIGGER pod_gone AFTER DELETE ON agent_pods BEGIN UPDATE entries_generation SET generation = generation + 1; END;
CREATE TRIGGER node_changed AFTER UPDATE ON nodes WHEN OLD.node_key IS NOT NEW.node_key OR OLD.state <> NEW.state
    BEGIN UPDATE entries_generation SET generation = generation + 1; END;
