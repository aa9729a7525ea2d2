//! Trust domains that are the same (Istio MeshConfig `trustDomainAliases`).

use crate::mesh::Mesh;
use crate::pattern::Pattern;

/// The trust domain that stands for the one of the mesh, whatever its name.
const POINTER: &str = "cluster.local";

/// A principal as patterns, one for each trust domain that it means.
///
/// Only a principal of five parts (`td/ns/N/sa/S`) names a trust domain. One that is ours, or an alias, or `cluster.local`, means all of
/// ours; one with a star in front that fits one of ours keeps itself and gains those that it does not fit; any other means itself.
pub(crate) fn principal(text: &str, mesh: &Mesh) -> Vec<Pattern> {
    let literal = || vec![Pattern::of(text)];
    let Some((domain, rest)) = text.split_once('/').filter(|(domain, _)| *domain != "*" && text.split('/').count() == 5) else {
        return literal();
    };
    let named = Pattern::of(domain);
    if domain != POINTER && !ours(mesh).any(|own| named.matches(own.as_bytes())) {
        return literal();
    }
    let mut meant: Vec<Pattern> = Vec::new();
    for own in ours(mesh) {
        let keeps_itself = matches!(named, Pattern::Suffix(_)) && named.matches(own.as_bytes());
        let pattern = if keeps_itself { Pattern::of(text) } else { Pattern::of(&format!("{own}/{rest}")) };
        if !meant.contains(&pattern) {
            meant.push(pattern);
        }
    }
    meant
}

/// A trust domain as patterns: one that is exactly one of ours means all of ours.
pub(crate) fn trust_domain(text: &str, mesh: &Mesh) -> Vec<Pattern> {
    if ours(mesh).any(|own| own == text) { ours(mesh).map(Pattern::of).collect() } else { vec![Pattern::of(text)] }
}

fn ours(mesh: &Mesh) -> impl Iterator<Item = &str> {
    std::iter::once(mesh.trust_domain.as_str()).chain(mesh.trust_domain_aliases.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh(own: &str, aliases: &[&str]) -> Mesh {
        Mesh {
            trust_domain: own.to_owned(),
            trust_domain_aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            ..Mesh::default()
        }
    }

    #[test]
    fn a_principal_of_ours_means_all_of_ours() {
        let mesh = mesh("new-td", &["old-td", "other"]);
        for (text, expected) in [
            ("new-td/ns/a/sa/b", &["new-td/ns/a/sa/b", "old-td/ns/a/sa/b", "other/ns/a/sa/b"][..]),
            ("other/ns/a/sa/b", &["new-td/ns/a/sa/b", "old-td/ns/a/sa/b", "other/ns/a/sa/b"]),
            ("cluster.local/ns/a/sa/b", &["new-td/ns/a/sa/b", "old-td/ns/a/sa/b", "other/ns/a/sa/b"]),
            ("*-td/ns/a/sa/b", &["*-td/ns/a/sa/b", "other/ns/a/sa/b"]),
            ("*x/ns/a/sa/b", &["*x/ns/a/sa/b"]),
            ("*/ns/a/sa/b", &["*/ns/a/sa/b"]),
            ("strange/ns/a/sa/b", &["strange/ns/a/sa/b"]),
            ("new-td/ns/a/sa/*", &["new-td/ns/a/sa/*", "old-td/ns/a/sa/*", "other/ns/a/sa/*"]),
            ("new-td/ns/a/*", &["new-td/ns/a/*"]),
            ("new-td/web", &["new-td/web"]),
            ("sa/b", &["sa/b"]),
            ("*", &["*"]),
        ] {
            let found: Vec<_> = principal(text, &mesh).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_trust_domain_means_all_of_ours_by_its_whole_name() {
        let mesh = mesh("td1", &["td2"]);
        for (text, expected) in [("td1", &["td1", "td2"][..]), ("td2", &["td1", "td2"]), ("td*", &["td*"]), ("td3", &["td3"])] {
            let found: Vec<_> = trust_domain(text, &mesh).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
