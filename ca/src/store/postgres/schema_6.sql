-- Entries that objects of a cluster ask for.

ALTER TABLE entries
    -- The cluster, and a JSON array of namespace, name and UID of the object there.
    ADD COLUMN parent_cluster TEXT COLLATE "C",
    ADD COLUMN parent_object TEXT COLLATE "C",
    DROP CONSTRAINT entries_check,
    ADD CONSTRAINT entries_one_parent CHECK (num_nonnulls(parent_node, parent_alias, parent_cluster) = 1),
    ADD CONSTRAINT entries_whole_object CHECK ((parent_cluster IS NULL) = (parent_object IS NULL));
CREATE UNIQUE INDEX entries_of_objects_once ON entries (spiffe_id, hashtextextended(selectors, 0), parent_cluster, parent_object);
CREATE INDEX entries_by_cluster ON entries (parent_cluster) WHERE parent_cluster IS NOT NULL;

-- Which nodes are of a cluster, as agent_pods and nodes say it together, decides what nodes have. A node comes with its pod, and goes with
-- all of its pods spent.
CREATE TRIGGER pods_changed AFTER INSERT OR UPDATE OR DELETE ON agent_pods
    FOR EACH ROW EXECUTE FUNCTION count_entries_change();
CREATE TRIGGER nodes_changed AFTER UPDATE ON nodes
    FOR EACH ROW WHEN (OLD.node_key IS DISTINCT FROM NEW.node_key OR OLD.state <> NEW.state)
    EXECUTE FUNCTION count_entries_change();
