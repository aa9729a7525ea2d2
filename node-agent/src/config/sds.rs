//! `[sds]`: what the service of Envoy's secrets gives beside the identities of entries.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use runtime::config::{Section, absolute_path};
use sds::ValidationContextKind;

use crate::file_secrets::{FileLinks, FileSecretSettings};

/// The section, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdsConfig {
    /// What a validation context looks like when the client does not say.
    pub validation_context: ValidationContextKind,
    /// Secrets from files; `None`: not given.
    pub file_secrets: Option<FileSecretSettings>,
    /// Whether a stream may bring a token of its own, for which the CA is asked.
    pub bearer_tokens: bool,
}

impl SdsConfig {
    pub(super) fn read(sds: &Section<'_>) -> Self {
        let validation_context = sds.optional("validation_context", validation_context);
        Self {
            validation_context: validation_context.unwrap_or(ValidationContextKind::SpiffeValidator),
            file_secrets: read_file_secrets(sds),
            bearer_tokens: sds.boolean("bearer_tokens").unwrap_or(false),
        }
    }
}

fn validation_context(text: &str) -> Result<ValidationContextKind, &'static str> {
    match text {
        "spiffe" => Ok(ValidationContextKind::SpiffeValidator),
        "trusted-ca" => Ok(ValidationContextKind::TrustedCa),
        _ => Err("expected \"spiffe\" or \"trusted-ca\""),
    }
}

/// No directories: off, and then links have no meaning.
fn read_file_secrets(sds: &Section<'_>) -> Option<FileSecretSettings> {
    let directories = sds.list("file_directories", file_directory);
    let links = sds.optional("file_links", FileLinks::from_str);
    if directories.is_empty() {
        if links.is_some() {
            sds.fault("file_links", "given without file_directories: secrets from files are off");
        }
        return None;
    }
    Some(FileSecretSettings { directories, links: links.unwrap_or_default() })
}

/// One way to write each directory, so that the beginning of a path tells whether it is below.
fn file_directory(text: &str) -> Result<PathBuf, &'static str> {
    let path = absolute_path(text)?;
    let plain: PathBuf = path.components().collect();
    let up = path.components().any(|component| component == Component::ParentDir);
    if up || plain == Path::new("/") || plain.as_os_str() != path.as_os_str() {
        return Err("expected an absolute path other than \"/\", without \"..\", \".\", \"//\" and without \"/\" at its end");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use runtime::config::{ConfigErrors, Document};

    use super::*;

    fn read(text: &str) -> Result<SdsConfig, ConfigErrors> {
        let document = Document::parse("f", &format!("[sds]\n{text}\n"))?;
        let root = document.root();
        let section = root.section("sds");
        let config = SdsConfig::read(&section);
        drop((section, root));
        document.finish()?;
        Ok(config)
    }

    #[test]
    fn nothing_but_identities_is_given_unless_it_is_asked_for() {
        let config = read("").unwrap();
        assert_eq!((config.file_secrets, config.bearer_tokens), (None, false));
        assert!(read("bearer_tokens = true").unwrap().bearer_tokens);
    }

    #[test]
    fn files_are_secrets_only_below_directories_that_are_named() {
        let settings = read("file_directories = [\"/etc/certs\", \"/run/x\"]\nfile_links = \"data\"").unwrap();
        let settings = settings.file_secrets.unwrap();
        assert_eq!((settings.directories.len(), settings.links), (2, FileLinks::Data));
        assert_eq!(read("file_directories = [\"/etc/certs\"]").unwrap().file_secrets.unwrap().links, FileLinks::Forbid);
        for bad in ["/", "etc", "/etc/", "/etc/../x", "/etc//x", "/etc/./x"] {
            let refused = read(&format!("file_directories = [\"{bad}\"]")).unwrap_err().to_string();
            assert!(refused.contains("file_directories"), "{bad}");
        }
        assert!(read("file_links = \"data\"").is_err() && read("file_directories = [\"/a\"]\nfile_links = \"all\"").is_err());
    }
}
