//! The `[[oidc]]` tables of the configuration: which keys there are, their defaults and their ranges.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use mtls::https::{AddressRange, HttpsUrl};
use runtime::config::{Section, absolute_path};

use super::rule::{KeyLocation, OidcRule};
use super::template::{DnsTemplate, IdentityTemplate};

/// The most rules, and the most audiences, addresses and names of one.
const MAX_RULES: usize = 32;
const MAX_LISTED: usize = 16;
/// The longest issuer or audience, in bytes.
const MAX_TEXT_BYTES: usize = 512;
const DEFAULT_MAX_STALE: Duration = Duration::from_secs(60 * 60);
const MIN_MAX_STALE: Duration = Duration::from_secs(2);
/// Who steals a key that its issuer withdrew may use it for so long while the issuer cannot be reached.
const MAX_MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads every rule. Faults go to the document; a rule with one is left out.
pub(crate) fn read_rules(root: &Section<'_>) -> Vec<OidcRule> {
    let sections = root.sections("oidc");
    if sections.len() > MAX_RULES {
        root.fault("oidc", format!("{} rules; at most {MAX_RULES} are read", sections.len()));
    }
    let mut issuers = BTreeSet::new();
    let mut rules = Vec::new();
    for section in &sections {
        let rule = read_rule(section);
        if let Some(rule) = &rule
            && !issuers.insert(rule.issuer.clone())
        {
            // Which of two rules counts would depend on their order.
            section.fault("issuer", format!("two rules are for {:?}; make them one", rule.issuer));
        }
        rules.extend(rule);
    }
    rules
}

fn read_rule(section: &Section<'_>) -> Option<OidcRule> {
    let issuer = section.required("issuer", plain);
    let audiences = bounded(section, "audiences", section.list("audiences", plain));
    if audiences.is_empty() {
        section.fault("audiences", "missing or empty: a token that was made for another service must not be taken here");
    }
    let keys = read_keys(section);
    let max_stale = section.duration("max_stale").unwrap_or(DEFAULT_MAX_STALE);
    if !(MIN_MAX_STALE..=MAX_MAX_STALE).contains(&max_stale) {
        section.fault("max_stale", format!("not between {MIN_MAX_STALE:?} and {MAX_MAX_STALE:?}"));
    }
    let identity = section.optional("identity", IdentityTemplate::parse).unwrap_or_else(IdentityTemplate::service_account);
    let dns_names = bounded(section, "dns_names", section.list("dns_names", DnsTemplate::parse));
    Some(OidcRule { issuer: issuer?, audiences, keys: keys?, max_stale, identity, dns_names })
}

fn read_keys(section: &Section<'_>) -> Option<KeyLocation> {
    let file = section.optional("jwks_file", absolute_path);
    let url = section.optional("jwks_url", HttpsUrl::from_str);
    let roots = section.optional("jwks_roots", absolute_path);
    let allow_addresses = bounded(section, "allow_addresses", section.list("allow_addresses", AddressRange::from_str));
    match (file, url) {
        (Some(_), Some(_)) => {
            section.fault("jwks_url", "there is a jwks_file too; name one place where the keys are");
            None
        }
        (Some(file), None) => {
            if roots.is_some() {
                section.fault("jwks_roots", "only for a jwks_url");
            }
            if !allow_addresses.is_empty() {
                section.fault("allow_addresses", "only for a jwks_url");
            }
            Some(KeyLocation::File(file))
        }
        (None, Some(url)) => Some(KeyLocation::Https { url, roots, allow_addresses }),
        (None, None) => {
            // A fault of the value was told by its reader, and this one tells what the key is for.
            section.fault("jwks_url", "neither a jwks_url nor a jwks_file: the issuer's keys are needed to check a signature");
            None
        }
    }
}

fn bounded<T>(section: &Section<'_>, key: &'static str, list: Vec<T>) -> Vec<T> {
    if list.len() > MAX_LISTED {
        section.fault(key, format!("{} elements; at most {MAX_LISTED} are read", list.len()));
    }
    list
}

fn plain(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > MAX_TEXT_BYTES {
        return Err(format!("has {} bytes, 1 to {MAX_TEXT_BYTES} are allowed", text.len()));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("holds white space or a control character, and is compared byte for byte".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use runtime::config::Document;

    use super::*;

    const RULE: &str = "[[oidc]]\nissuer = \"https://issuer.example\"\naudiences = [\"signet\"]\n";

    fn read(text: &str) -> Result<Vec<OidcRule>, String> {
        let document = Document::parse("ca.toml", text).unwrap();
        let rules = read_rules(&document.root());
        document.finish().map(|()| rules).map_err(|errors| errors.to_string())
    }

    #[test]
    fn the_smallest_rule_takes_every_default() {
        let rules = read(&format!("{RULE}jwks_file = \"/k.json\"\n")).unwrap();
        let [rule] = rules.as_slice() else { panic!("{rules:?}") };
        assert_eq!(rule.issuer, "https://issuer.example");
        assert_eq!(rule.max_stale, Duration::from_secs(3600));
        assert_eq!(rule.keys, KeyLocation::File("/k.json".into()));
        assert_eq!(rule.identity, IdentityTemplate::service_account());
        assert!(rule.dns_names.is_empty());
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn a_full_rule_is_read_key_by_key() {
        let rules = read(&format!(
            "{RULE}jwks_url = \"https://issuer.example/jwks\"\njwks_roots = \"/roots.pem\"\nallow_addresses = [\"10.0.0.0/8\"]\n\
             max_stale = \"10m\"\nidentity = \"/job/{{claim:job}}\"\ndns_names = [\"{{claim:job}}.jobs.example\"]\n\
             [[oidc]]\nissuer = \"kubernetes/serviceaccount\"\naudiences = [\"a\", \"b\"]\njwks_file = \"/k.json\"\n"
        ))
        .unwrap();
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[0].max_stale, Duration::from_secs(600));
        assert_eq!(rules[0].dns_names.len(), 1);
        assert_eq!(rules[1].audiences, ["a", "b"]);
        let KeyLocation::Https { url, roots, allow_addresses } = &rules[0].keys else { panic!() };
        assert_eq!(url.as_str(), "https://issuer.example/jwks");
        assert_eq!(roots.as_deref(), Some(std::path::Path::new("/roots.pem")));
        assert_eq!(allow_addresses.len(), 1);
    }

    #[test]
    fn each_fault_of_a_rule_is_told() {
        let file = "jwks_file = \"/k.json\"\n";
        for (text, told) in [
            ("[[oidc]]\naudiences = [\"a\"]\njwks_file = \"/k\"\n".to_owned(), "oidc[0].issuer: missing"),
            ("[[oidc]]\nissuer = \"\"\naudiences = [\"a\"]\njwks_file = \"/k\"\n".to_owned(), "oidc[0].issuer: has 0 bytes"),
            (format!("[[oidc]]\nissuer = \"i\"\n{file}"), "oidc[0].audiences: missing or empty"),
            (format!("[[oidc]]\nissuer = \"i\"\naudiences = []\n{file}"), "oidc[0].audiences: missing or empty"),
            (format!("[[oidc]]\nissuer = \"i\"\naudiences = [\"\"]\n{file}"), "oidc[0].audiences[0]: has 0 bytes"),
            (RULE.to_owned(), "neither a jwks_url nor a jwks_file"),
            (format!("{RULE}{file}jwks_url = \"https://a.example\"\n"), "name one place"),
            (format!("{RULE}jwks_file = \"k.json\"\n"), "not an absolute path"),
            (format!("{RULE}jwks_url = \"http://a.example\"\n"), "does not begin with \"https://\""),
            (format!("{RULE}jwks_url = \"https://u:p@a.example\"\n"), "user information"),
            (format!("{RULE}{file}jwks_roots = \"/r.pem\"\n"), "only for a jwks_url"),
            (format!("{RULE}{file}allow_addresses = [\"10.0.0.0/8\"]\n"), "only for a jwks_url"),
            (format!("{RULE}jwks_url = \"https://a.example\"\nallow_addresses = [\"10.0.0.1/8\"]\n"), "10.0.0.0/8"),
            (format!("{RULE}{file}max_stale = \"25h\"\n"), "oidc[0].max_stale"),
            (format!("{RULE}{file}max_stale = \"1s\"\n"), "oidc[0].max_stale"),
            (format!("{RULE}{file}identity = \"/signet/{{claim:a}}\"\n"), "kept for Signet"),
            (format!("{RULE}{file}dns_names = [\"{{claim:a}}\"]\n"), "oidc[0].dns_names[0]"),
            (format!("{RULE}{file}{RULE}{file}"), "oidc[1].issuer: two rules are for"),
            (format!("{RULE}{file}audience = \"a\"\n"), "oidc[0].audience: unknown key"),
        ] {
            let faults = read(&text).expect_err(&text);
            assert!(faults.contains(told), "{told:?} is not in:\n{faults}");
        }
        assert!(read(&format!("{RULE}{file}").repeat(33)).unwrap_err().contains("33 rules"));
    }
}
