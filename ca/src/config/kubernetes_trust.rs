//! `[kubernetes.trust]`: objects of the cluster by which others learn whom to trust. Absent: none are written.

use std::collections::BTreeSet;

use ::kubernetes::LabelSelector;
use ::kubernetes::names::{is_label, is_name};
use runtime::config::Section;

/// The section, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustConfig {
    /// Namespaces that have no ConfigMap.
    pub skip: BTreeSet<String>,
    /// A namespace has one if any of these matches its labels. Empty: all have.
    pub selectors: Vec<LabelSelector>,
    /// Whether the revocation lists go out too, as `istio-ca-crl`.
    pub revocation_lists: bool,
    /// The webhook configurations whose webhooks are verified by the trust bundle.
    pub webhooks: BTreeSet<WebhookName>,
    /// How many objects a second are looked at after a change of the trust bundle: 1 to 1,000.
    pub rewrites_per_second: u32,
}

/// A webhook configuration, as `validating/NAME` or `mutating/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WebhookName {
    /// Whether its webhooks change what they are shown.
    pub is_mutating: bool,
    /// Its name.
    pub name: String,
}

/// Reads the section below `[kubernetes]`, where there is one. Faults go to the document.
pub(super) fn read(kubernetes: &Section<'_>) -> Option<TrustConfig> {
    if !kubernetes.has("trust") {
        return None;
    }
    let section = kubernetes.section("trust");
    let skip = if section.has("skip") { section.list("skip", namespace) } else { SKIPPED.map(str::to_owned).into() };
    let selectors = section.list("selectors", LabelSelector::parse);
    let webhooks = section.list("webhooks", webhook);
    for (key, count, most) in [
        ("skip", skip.len(), MAX_SKIPPED),
        ("selectors", selectors.len(), MAX_SELECTORS),
        ("webhooks", webhooks.len(), MAX_WEBHOOKS),
    ] {
        if count > most {
            section.fault(key, format!("{count}; at most {most} are read"));
        }
    }
    let rewrites = section.integer("rewrites_per_second", 1..=1000).and_then(|rate| u32::try_from(rate).ok());
    Some(TrustConfig {
        skip: skip.into_iter().collect(),
        selectors,
        revocation_lists: section.boolean("revocation_lists").unwrap_or_default(),
        webhooks: webhooks.into_iter().collect(),
        rewrites_per_second: rewrites.unwrap_or(DEFAULT_REWRITES),
    })
}

fn namespace(text: &str) -> Result<String, String> {
    if is_label(text) { Ok(text.to_owned()) } else { Err("expected the name of a namespace".to_owned()) }
}

fn webhook(text: &str) -> Result<WebhookName, String> {
    let (kind, name) = text.split_once('/').filter(|(_, name)| is_name(name)).unwrap_or_default();
    let is_mutating = match kind {
        "validating" => false,
        "mutating" => true,
        _ => return Err("expected validating/NAME or mutating/NAME".to_owned()),
    };
    Ok(WebhookName { is_mutating, name: name.to_owned() })
}

/// No pods that trust anybody run there; as istiod has it.
const SKIPPED: [&str; 3] = ["kube-public", "kube-node-lease", "local-path-storage"];
const MAX_SKIPPED: usize = 1024;
const MAX_SELECTORS: usize = 16;
/// Each is watched on a connection of its own.
const MAX_WEBHOOKS: usize = 16;
const DEFAULT_REWRITES: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CaConfig;

    const HEAD: &str = "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nlisten = \"127.0.0.1:0\"\n[kubernetes]\n";

    fn read(text: &str) -> Result<Option<TrustConfig>, String> {
        let config = CaConfig::parse("f", &format!("{HEAD}{text}")).map_err(|error| error.to_string())?;
        Ok(config.kubernetes.unwrap().trust)
    }

    #[test]
    fn nothing_is_written_that_nobody_asked_for() {
        assert_eq!(read("").unwrap(), None);
        let config = read("[kubernetes.trust]\n").unwrap().unwrap();
        assert_eq!(config.skip, SKIPPED.map(str::to_owned).into());
        assert!(config.selectors.is_empty() && config.webhooks.is_empty() && !config.revocation_lists);
    }

    #[test]
    fn each_key_is_read_and_bounded() {
        let text = "[kubernetes.trust]\nskip = [\"a\"]\nselectors = [\"team=shop\", \"!hidden\"]\nrevocation_lists = true\n\
                    webhooks = [\"validating/a\", \"mutating/b.c\"]\nrewrites_per_second = 7\n";
        let config = read(text).unwrap().unwrap();
        assert_eq!((config.skip.len(), config.selectors.len(), config.rewrites_per_second), (1, 2, 7));
        assert!(config.revocation_lists);
        let names: Vec<_> = config.webhooks.iter().map(|name| (name.is_mutating, name.name.as_str())).collect();
        assert_eq!(names, [(false, "a"), (true, "b.c")]);
        for (text, key) in [
            ("skip = [\"a.b\"]", "skip"),
            ("selectors = [\"\"]", "selectors"),
            ("webhooks = [\"a\"]", "webhooks"),
            ("webhooks = [\"other/a\"]", "webhooks"),
            ("webhooks = [\"validating/A\"]", "webhooks"),
            ("rewrites_per_second = 0", "rewrites_per_second"),
            ("name = \"a\"", "name"),
        ] {
            let faults = read(&format!("[kubernetes.trust]\n{text}\n")).unwrap_err();
            assert!(faults.contains(&format!("kubernetes.trust.{key}")), "{key} in {faults}");
        }
    }
}
