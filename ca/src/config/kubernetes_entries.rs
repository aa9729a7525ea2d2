//! `[kubernetes.entries]`: objects of the cluster that ask for entries. Absent: none are read.

use runtime::config::Section;

/// The section, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntriesConfig {
    /// How many objects of one namespace have an entry, 1 to 10,000.
    pub max_per_namespace: usize,
    /// How many have one in all, 1 to 10,000.
    pub max: usize,
}

/// Reads the section below `[kubernetes]`, where there is one. Faults go to the document.
pub(super) fn read(kubernetes: &Section<'_>) -> Option<ObjectEntriesConfig> {
    if !kubernetes.has("entries") {
        return None;
    }
    let section = kubernetes.section("entries");
    let bound = |key, default| {
        let asked = section.integer(key, 1..=MOST);
        asked.and_then(|asked| usize::try_from(asked).ok()).unwrap_or(default)
    };
    Some(ObjectEntriesConfig {
        max_per_namespace: bound("max_per_namespace", DEFAULT_PER_NAMESPACE),
        max: bound("max", DEFAULT_MOST),
    })
}

/// Each agent of the cluster has all of them, among others, and holds 20,000 entries at the most. One transaction writes them.
const MOST: i64 = 10_000;
const DEFAULT_MOST: usize = 5_000;
const DEFAULT_PER_NAMESPACE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CaConfig;

    const HEAD: &str = "trust_domain = \"example.org\"\nstate_dir = \"/s\"\nlisten = \"127.0.0.1:0\"\n[kubernetes]\n";
    const AGENTS: &str = "[kubernetes.agents]\naccounts = [\"a/b\"]\n";

    fn read(text: &str) -> Result<Option<ObjectEntriesConfig>, String> {
        let config = CaConfig::parse("f", &format!("{HEAD}{text}")).map_err(|error| error.to_string())?;
        Ok(config.kubernetes.unwrap().entries)
    }

    #[test]
    fn no_object_is_read_that_nobody_asked_for_and_bounds_are_bounded() {
        assert_eq!(read(AGENTS).unwrap(), None);
        let config = read(&format!("{AGENTS}[kubernetes.entries]\n")).unwrap().unwrap();
        assert_eq!((config.max_per_namespace, config.max), (DEFAULT_PER_NAMESPACE, DEFAULT_MOST));
        let config = read(&format!("{AGENTS}[kubernetes.entries]\nmax = 7\nmax_per_namespace = 2\n")).unwrap().unwrap();
        assert_eq!((config.max_per_namespace, config.max), (2, 7));
        for (text, key) in [
            (format!("{AGENTS}[kubernetes.entries]\nmax = 0\n"), "kubernetes.entries.max"),
            (format!("{AGENTS}[kubernetes.entries]\nmax = 10001\n"), "kubernetes.entries.max"),
            (format!("{AGENTS}[kubernetes.entries]\nmax_per_namespace = 0\n"), "kubernetes.entries.max_per_namespace"),
            (format!("{AGENTS}[kubernetes.entries]\nnamespaces = []\n"), "kubernetes.entries.namespaces"),
            ("[kubernetes.entries]\n".to_owned(), "kubernetes.entries"),
        ] {
            let faults = read(&text).unwrap_err();
            assert!(faults.contains(key), "{key} in {faults}");
        }
    }
}
