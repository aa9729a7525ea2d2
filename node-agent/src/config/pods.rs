//! `[kubernetes]`: the cluster that this node is of, whose API server says which pods run here.

use kubernetes::ClusterConfig;
use kubernetes::names::is_name;
use runtime::config::Section;

use super::pick;

/// The cluster, and what it calls this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodsConfig {
    /// Its API server, and what proves the agent to it.
    pub cluster: ClusterConfig,
    /// The name of this node's own object in the cluster. No default.
    pub node_name: String,
    /// Whether processes in pods that match no entry get the identities of their service accounts.
    pub pod_identities: bool,
}

/// Reads the section, where there is one. The name of the node may come by flag: all nodes of a cluster can have one file then. `by_pod` says whether
/// the node is attested by the agent's own pod: the CA gives the identities of pods to such agents.
pub(super) fn read(root: &Section<'_>, node_name: Option<&str>, by_pod: bool) -> Option<PodsConfig> {
    if !root.has("kubernetes") {
        if node_name.is_some() {
            root.fault("kubernetes", "command line: the name of this node there is given, and no cluster");
        }
        return None;
    }
    let section = root.section("kubernetes");
    let name = pick(&section, "node_name", node_name, node);
    if name.is_none() && node_name.is_none() && !section.has("node_name") {
        section.fault("node_name", MISSING);
    }
    let cluster = ClusterConfig::read(&section);
    let pod_identities = section.boolean("pod_identities").unwrap_or(by_pod);
    if pod_identities && !by_pod {
        section.fault("pod_identities", "the CA gives them to agents that attest by attestation.service_account_token_file");
    }
    Some(PodsConfig { cluster: cluster?, node_name: name?, pod_identities })
}

const MISSING: &str =
    "missing: what the cluster calls this node, here or by `--kubernetes-node-name` (a pod has it from spec.nodeName)";

fn node(text: &str) -> Result<String, &'static str> {
    if is_name(text) { Ok(text.to_owned()) } else { Err("expected the name of a node as Kubernetes takes it") }
}

#[cfg(test)]
mod tests {
    use super::super::{AgentConfig, AgentOverrides};
    use super::*;
    use runtime::config::Document;

    const LEAST: &str = "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nca_address = \"ca.example.org:8443\"\n";

    fn read(text: &str, flag: Option<&str>) -> Result<Option<PodsConfig>, String> {
        let overrides = AgentOverrides { kubernetes_node_name: flag.map(str::to_owned), ..AgentOverrides::default() };
        let document = Document::parse("f", &format!("{LEAST}{text}")).map_err(|error| error.to_string())?;
        AgentConfig::read(document, &overrides).map(|config| config.pods).map_err(|error| error.to_string())
    }

    #[test]
    fn a_cluster_needs_the_name_of_the_node_by_file_or_by_flag() {
        assert_eq!(read("", None), Ok(None));
        let config = read("[kubernetes]\nnode_name = \"n1.example\"\n", None).unwrap().unwrap();
        assert_eq!(
            (config.node_name.as_str(), config.cluster.api_server.as_str()),
            ("n1.example", "https://kubernetes.default.svc")
        );
        let by_flag = |text: &str| read(text, Some("n2")).map(|config| config.map(|config| config.node_name));
        assert_eq!(by_flag("[kubernetes]\n"), Ok(Some("n2".to_owned())));
        assert_eq!(by_flag("[kubernetes]\nnode_name = \"n1\"\n"), Ok(Some("n2".to_owned())), "the flag stands above the file");
        for (text, flag, key) in [
            ("[kubernetes]\n", None, "kubernetes.node_name"),
            ("[kubernetes]\nnode_name = \"\"\n", None, "kubernetes.node_name"),
            ("[kubernetes]\nnode_name = \"a,b\"\n", None, "kubernetes.node_name"),
            ("[kubernetes]\n", Some("A"), "kubernetes.node_name"),
            ("", Some("n2"), "kubernetes"),
            ("[kubernetes]\nnode_name = \"n1\"\napi_server = \"http://a\"\n", None, "kubernetes.api_server"),
            ("[kubernetes]\nnode_name = \"n1\"\nnamespace = \"a\"\n", None, "namespace"),
        ] {
            let faults = read(text, flag).unwrap_err();
            assert!(faults.contains(key), "{key} in {faults}");
        }
    }
}
