//! `[kubernetes]`: the cluster whose API server says whom the tokens of service accounts stand for.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use ::kubernetes::ClusterConfig;
use ::kubernetes::names::{is_label, is_name};
use runtime::config::Section;

use super::kubernetes_entries::{self, ObjectEntriesConfig};
use super::kubernetes_secrets::{self, SecretsConfig};
use super::kubernetes_trust::{self, TrustConfig};

/// The section, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// The name of the cluster in records. It decides nothing.
    pub cluster: String,
    /// One of them a token must be for. Not empty.
    pub audiences: Vec<String>,
    /// The API server, and what this process shows to it.
    pub server: ClusterConfig,
    /// The service accounts of proxies that may ask for the identities of the pods of their node. Empty: nobody may, and no pods are watched.
    pub trusted_node_accounts: BTreeSet<AccountName>,
    /// The agents of the cluster; `None`: none attests its node by a service account.
    pub agents: Option<ClusterAgentsConfig>,
    /// Secrets for its service accounts; `None`: none are made.
    pub secrets: Option<SecretsConfig>,
    /// Objects by which others learn whom to trust; `None`: none are written.
    pub trust: Option<TrustConfig>,
    /// Objects that ask for entries; `None`: none are read.
    pub entries: Option<ObjectEntriesConfig>,
}

/// Whose pods attest the nodes that they run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterAgentsConfig {
    /// Their service accounts. Not empty.
    pub accounts: BTreeSet<AccountName>,
    /// One of them their tokens must be for. Not empty.
    pub audiences: Vec<String>,
    /// Whether they get the identities of the service accounts that live pods on their nodes run as.
    pub pod_identities: bool,
    /// For how long those are renewed while the API server does not answer; `None`: half the life of a certificate.
    pub renew_without_apiserver: Option<Duration>,
}

/// The name of a service account, as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccountName {
    /// Its namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Reads the section, where there is one. Faults go to the document.
pub(super) fn read(root: &Section<'_>) -> Option<KubernetesConfig> {
    if !root.has("kubernetes") {
        return None;
    }
    let section = root.section("kubernetes");
    let cluster = section.optional("cluster", cluster_name);
    let audiences = read_audiences(&section, DEFAULT_AUDIENCE);
    let trusted_node_accounts = read_accounts(&section, "trusted_node_accounts");
    let agents = section.has("agents").then(|| read_agents(&section.section("agents")));
    if let Some(agents) = &agents
        && let Some(both) = agents.audiences.iter().find(|audience| audiences.contains(audience))
    {
        // Whoever is shown a workload's token for the CA could attest a node by it, were the workload an agent's pod.
        section.section("agents").fault("audiences", format!("{both:?} is also one of kubernetes.audiences: keep them apart"));
    }
    let secrets = kubernetes_secrets::read(&section);
    let trust = kubernetes_trust::read(&section);
    let entries = kubernetes_entries::read(&section);
    if entries.is_some() && agents.is_none() {
        section.fault(
            "entries",
            "needs [kubernetes.agents]: entries of objects are for the nodes whose agents the cluster vouches for",
        );
    }
    let server = ClusterConfig::read(&section);
    Some(KubernetesConfig {
        cluster: cluster.unwrap_or_else(|| DEFAULT_CLUSTER.to_owned()),
        audiences,
        server: server?,
        trusted_node_accounts,
        agents,
        secrets,
        trust,
        entries,
    })
}

fn read_agents(section: &Section<'_>) -> ClusterAgentsConfig {
    let accounts = read_accounts(section, "accounts");
    if accounts.is_empty() {
        section.fault("accounts", "none: name the service account of the agents as \"NAMESPACE/ACCOUNT\"");
    }
    let renew_without_apiserver = section.duration("renew_without_apiserver");
    if renew_without_apiserver.is_some_and(|span| span > MAX_BRIDGED) {
        section.fault(
            "renew_without_apiserver",
            "more than a week: pods that are gone would have had their identities for that long",
        );
    }
    ClusterAgentsConfig {
        accounts,
        audiences: read_audiences(section, DEFAULT_AGENT_AUDIENCE),
        pod_identities: section.boolean("pod_identities").unwrap_or(true),
        renew_without_apiserver,
    }
}

fn read_audiences(section: &Section<'_>, default: &str) -> Vec<String> {
    let audiences = if section.has("audiences") { section.list("audiences", audience) } else { vec![default.to_owned()] };
    if audiences.is_empty() {
        section.fault("audiences", "empty: a token that was made for another service must not be taken here");
    }
    if audiences.len() > MAX_AUDIENCES {
        section.fault("audiences", format!("{}; at most {MAX_AUDIENCES} are read", audiences.len()));
    }
    audiences
}

fn read_accounts(section: &Section<'_>, key: &'static str) -> BTreeSet<AccountName> {
    let accounts = section.list(key, account_name);
    if accounts.len() > MAX_ACCOUNTS {
        section.fault(key, format!("{}; at most {MAX_ACCOUNTS} are read", accounts.len()));
    }
    accounts.into_iter().collect()
}

fn cluster_name(text: &str) -> Result<String, String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let is_good = is_plain && (1..=MAX_CLUSTER_BYTES).contains(&text.len());
    if is_good { Ok(text.to_owned()) } else { Err("expected 1 to 63 letters, digits, \"-\", \"_\" or \".\"".to_owned()) }
}

fn account_name(text: &str) -> Result<AccountName, String> {
    let parts = text.split_once('/').filter(|(namespace, name)| is_label(namespace) && is_name(name));
    let (namespace, name) = parts.ok_or("expected NAMESPACE/ACCOUNT")?;
    Ok(AccountName { namespace: namespace.to_owned(), name: name.to_owned() })
}

fn audience(text: &str) -> Result<String, String> {
    let is_good = (1..=MAX_AUDIENCE_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
    if is_good { Ok(text.to_owned()) } else { Err(format!("expected 1 to {MAX_AUDIENCE_BYTES} bytes of text")) }
}

/// As Istio's clients call the cluster that they are in, unless they are told otherwise.
const DEFAULT_CLUSTER: &str = "Kubernetes";
/// As Istio's clients have their tokens made.
const DEFAULT_AUDIENCE: &str = "istio-ca";
/// As the manifests of this project have the tokens of agents made.
const DEFAULT_AGENT_AUDIENCE: &str = "signet-ca";
const MAX_BRIDGED: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const MAX_CLUSTER_BYTES: usize = 63;
const MAX_AUDIENCES: usize = 16;
const MAX_ACCOUNTS: usize = 64;
const MAX_AUDIENCE_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::CaConfig;

    const HEAD: &str = "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nlisten = \"127.0.0.1:0\"\n";

    #[test]
    fn nobody_is_asked_without_the_section_and_in_a_cluster_it_needs_no_key() {
        assert_eq!(CaConfig::parse("f", HEAD).unwrap().kubernetes, None);
        let config = CaConfig::parse("f", &format!("{HEAD}[kubernetes]\n")).unwrap().kubernetes.unwrap();
        assert_eq!((config.cluster.as_str(), config.audiences.as_slice()), ("Kubernetes", &["istio-ca".to_owned()][..]));
        assert_eq!(config.server.api_server.as_str(), "https://kubernetes.default.svc");
        assert!(config.trusted_node_accounts.is_empty() && config.agents.is_none(), "nobody is trusted who is not named");
    }

    #[test]
    fn each_key_is_read_and_bounded() {
        let read = |text: &str| CaConfig::parse("f", &format!("{HEAD}[kubernetes]\n{text}\n"));
        let config = read("cluster = \"east-1\"\naudiences = [\"a\", \"b\"]").unwrap().kubernetes.unwrap();
        assert_eq!((config.cluster.as_str(), config.audiences.len()), ("east-1", 2));
        let trusted =
            read("trusted_node_accounts = [\"istio-system/ztunnel\", \"a/b.c\", \"a/b.c\"]").unwrap().kubernetes.unwrap();
        let trusted: Vec<_> = trusted.trusted_node_accounts.iter().map(ToString::to_string).collect();
        assert_eq!(trusted, ["a/b.c", "istio-system/ztunnel"]);
        let agents = read("[kubernetes.agents]\naccounts = [\"signet/agent\"]").unwrap().kubernetes.unwrap().agents.unwrap();
        assert_eq!((agents.accounts.len(), agents.audiences), (1, vec!["signet-ca".to_owned()]));
        assert_eq!((agents.pod_identities, agents.renew_without_apiserver), (true, None));
        let off = "[kubernetes.agents]\naccounts = [\"a/b\"]\npod_identities = false\nrenew_without_apiserver = \"0s\"";
        let off = read(off).unwrap().kubernetes.unwrap().agents.unwrap();
        assert_eq!((off.pod_identities, off.renew_without_apiserver), (false, Some(Duration::ZERO)));
        for (bad, key) in [
            ("[kubernetes.agents]", "kubernetes.agents.accounts"),
            ("[kubernetes.agents]\naccounts = []", "kubernetes.agents.accounts"),
            ("[kubernetes.agents]\naccounts = [\"a/b\"]\naudiences = []", "kubernetes.agents.audiences"),
            ("[kubernetes.agents]\naccounts = [\"a/b\"]\naudiences = [\"istio-ca\"]", "kubernetes.agents.audiences"),
            (
                "[kubernetes.agents]\naccounts = [\"a/b\"]\nrenew_without_apiserver = \"169h\"",
                "kubernetes.agents.renew_without_apiserver",
            ),
            ("trusted_node_accounts = [\"ztunnel\"]", "kubernetes.trusted_node_accounts"),
            ("trusted_node_accounts = [\"a.b/ztunnel\"]", "kubernetes.trusted_node_accounts"),
            ("trusted_node_accounts = [\"a/b/c\"]", "kubernetes.trusted_node_accounts"),
            ("trusted_node_accounts = [\"*/ztunnel\"]", "kubernetes.trusted_node_accounts"),
            ("cluster = \"\"", "kubernetes.cluster"),
            ("cluster = \"a b\"", "kubernetes.cluster"),
            ("audiences = []", "kubernetes.audiences"),
            ("audiences = [\"\"]", "kubernetes.audiences"),
            ("api_server = \"http://a\"", "kubernetes.api_server"),
            ("audience = \"a\"", "kubernetes.audience"),
        ] {
            let faults = read(bad).unwrap_err().to_string();
            assert!(faults.contains(key), "{key} in {faults}");
        }
    }
}
