//! `[[files]]` of the agent's configuration.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use identity::{Selector, SelectorKind, SpiffeId, TrustDomain};
use nix::unistd::{Gid, Group, Uid, User};
use runtime::config::{Section, absolute_path};

use super::directory::DirectoryError;

/// One set of files that the agent keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSetConfig {
    /// What the selector `signet:file:<name>` of its entry says.
    pub name: String,
    /// The selector.
    pub selector: Selector,
    /// Whose certificate and key.
    pub spiffe_id: SpiffeId,
    /// Where. Absolute, without `.` and `..`.
    pub directory: PathBuf,
    /// Whose files.
    pub ownership: Ownership,
    /// Permission bits of files with a key; for the owner, and at most readable for the group.
    pub key_mode: u32,
    /// Permission bits of the other files; writable for the owner alone.
    pub cert_mode: u32,
    /// Which files.
    pub formats: Formats,
    /// How the program is told.
    pub reload: Option<ReloadConfig>,
}

/// Owner and group of the files; `None` leaves the agent's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// The user.
    pub owner: Option<Account>,
    /// The group.
    pub group: Option<Account>,
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// By number.
    Id(u32),
    /// By name, looked up at each write.
    Name(String),
}

/// Which files a set has, beside `root-cert.pem`. At least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formats {
    /// `key.pem` and `cert-chain.pem`.
    pub pem: bool,
    /// `combined.pem`: the chain, then the key.
    pub combined: bool,
}

/// How the program is told that its files have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadConfig {
    /// A signal to the process whose number a file has.
    Signal(SignalHook),
    /// A command of its own, without a shell.
    Command(CommandHook),
}

/// A signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalHook {
    /// Which.
    pub signal: ReloadSignal,
    /// The file with the number. Absolute.
    pub pid_file: PathBuf,
    /// The executable that the process must have, when given. Absolute.
    pub executable: Option<PathBuf>,
}

/// The signals by which programs read their files again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadSignal {
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandHook {
    /// A path, or a name that is looked for in `/usr/sbin:/usr/bin:/sbin:/bin`.
    pub program: String,
    /// What it is called with.
    pub arguments: Vec<String>,
    /// After that long it is killed, with all of its process group. 1 s to 10 min.
    pub timeout: Duration,
}

/// Reads all sets. Faults go to the document.
pub(crate) fn read(root: &Section<'_>, trust_domain: Option<&TrustDomain>) -> Vec<FileSetConfig> {
    let mut sets: Vec<FileSetConfig> = Vec::new();
    for section in root.sections("files") {
        let Some(set) = read_set(&section, trust_domain) else { continue };
        if sets.iter().any(|other| other.name == set.name) {
            section.fault("name", format_args!("\"{}\" names two sets", set.name));
        }
        if sets.iter().any(|other| other.directory.starts_with(&set.directory) || set.directory.starts_with(&other.directory)) {
            section.fault("directory", "another set has this directory, or one above or below it");
        }
        sets.push(set);
    }
    sets
}

fn read_set(section: &Section<'_>, trust_domain: Option<&TrustDomain>) -> Option<FileSetConfig> {
    let named =
        section.required("name", |text| Selector::new(SelectorKind::File, text).map(|selector| (text.to_owned(), selector)));
    let spiffe_id = section.required("spiffe_id", SpiffeId::parse);
    if let (Some(id), Some(own)) = (&spiffe_id, trust_domain)
        && (id.trust_domain() != own || id.path().is_empty() || id.is_reserved())
    {
        section.fault("spiffe_id", format_args!("no workload of {own} can have it"));
    }
    let directory = section.required("directory", plain_path);
    let owner = section.optional("owner", account);
    let group = section.optional("group", account);
    let key_mode = section.optional("key_mode", |text| mode(text, 0o640, "of 0600, 0640 and what is less"));
    let cert_mode = section.optional("cert_mode", |text| mode(text, 0o644, "of 0644 and what is less"));
    let formats = read_formats(section);
    let reload = read_reload(&section.section("reload"));
    let (name, selector) = named?;
    Some(FileSetConfig {
        name,
        selector,
        spiffe_id: spiffe_id?,
        directory: directory?,
        ownership: Ownership { owner, group },
        key_mode: key_mode.unwrap_or(0o600),
        cert_mode: cert_mode.unwrap_or(0o644),
        formats,
        reload,
    })
}

fn read_formats(section: &Section<'_>) -> Formats {
    let names = section.list("formats", |text| match text {
        "pem" | "combined-pem" => Ok(text.to_owned()),
        _ => Err("expected \"pem\" or \"combined-pem\""),
    });
    let combined = names.iter().any(|name| name == "combined-pem");
    Formats { pem: names.iter().any(|name| name == "pem") || !combined, combined }
}

fn read_reload(section: &Section<'_>) -> Option<ReloadConfig> {
    let signal = section.optional("signal", |text| match text {
        "HUP" => Ok(ReloadSignal::Hup),
        "USR1" => Ok(ReloadSignal::Usr1),
        "USR2" => Ok(ReloadSignal::Usr2),
        _ => Err("expected \"HUP\", \"USR1\" or \"USR2\""),
    });
    let pid_file = section.optional("pid_file", absolute_path);
    let executable = section.optional("executable", absolute_path);
    let mut command = section.list("command", |text| if text.contains('\0') { Err("a zero byte") } else { Ok(text.to_owned()) });
    let timeout = section.duration("timeout");
    if timeout.is_some_and(|timeout| !(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout)) {
        section.fault("timeout", "not from 1s to 10m");
    }
    match (signal, pid_file, command.is_empty()) {
        (Some(signal), Some(pid_file), true) => Some(ReloadConfig::Signal(SignalHook { signal, pid_file, executable })),
        (None, None, false) => {
            let program = command.remove(0);
            if program.is_empty() {
                section.fault("command", "the first word is the program, and it is empty");
            }
            Some(ReloadConfig::Command(CommandHook { program, arguments: command, timeout: timeout.unwrap_or(DEFAULT_TIMEOUT) }))
        }
        (None, None, true) => {
            if executable.is_some() || timeout.is_some() {
                section.fault("signal", "missing: a reload is a signal with its pid_file, or a command");
            }
            None
        }
        (Some(_), None, true) | (None, Some(_), true) => {
            section.fault("pid_file", "a signal needs both signal and pid_file");
            None
        }
        (_, _, false) => {
            section.fault("command", "given together with a signal: keep one of the two");
            None
        }
    }
}

/// An absolute path that means the same read from left to right.
fn plain_path(text: &str) -> Result<PathBuf, &'static str> {
    let path = absolute_path(text)?;
    let plain = path.components().all(|component| matches!(component, Component::RootDir | Component::Normal(_)));
    if plain && path != Path::new("/") { Ok(path) } else { Err("expected the directory itself, without \".\" and \"..\"") }
}

fn account(text: &str) -> Result<Account, &'static str> {
    match text.parse() {
        Ok(id) => Ok(Account::Id(id)),
        Err(_) if !text.is_empty() && !text.contains([':', '\0', '\n']) => Ok(Account::Name(text.to_owned())),
        Err(_) => Err("expected a name or a number"),
    }
}

fn mode(text: &str, allowed: u32, want: &'static str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| text.len() <= 4 && mode & !allowed == 0 && mode & 0o400 != 0);
    mode.ok_or_else(|| format!("\"{text}\" is not one {want}, in octal"))
}

impl Ownership {
    /// The numbers. May block on the node's account database.
    ///
    /// # Errors
    /// [`DirectoryError::Account`] for a name that there is not.
    pub(super) fn resolve(&self) -> Result<(Option<Uid>, Option<Gid>), DirectoryError> {
        let user = |name: &str| User::from_name(name).map(|found| found.map(|user| user.uid));
        let group = |name: &str| Group::from_name(name).map(|found| found.map(|group| group.gid));
        let owner = self.owner.as_ref().map(|account| account.resolve("user", Uid::from_raw, user)).transpose()?;
        let group = self.group.as_ref().map(|account| account.resolve("group", Gid::from_raw, group)).transpose()?;
        Ok((owner, group))
    }
}

impl Account {
    fn resolve<I>(
        &self,
        what: &'static str,
        by_number: impl FnOnce(u32) -> I,
        by_name: impl FnOnce(&str) -> nix::Result<Option<I>>,
    ) -> Result<I, DirectoryError> {
        match self {
            Self::Id(number) => Ok(by_number(*number)),
            Self::Name(name) => match by_name(name) {
                Ok(Some(id)) => Ok(id),
                Ok(None) => Err(DirectoryError::Account { what, name: name.clone(), why: "there is none".to_owned() }),
                Err(errno) => Err(DirectoryError::Account { what, name: name.clone(), why: errno.to_string() }),
            },
        }
    }
}

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const MIN_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_TIMEOUT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use runtime::config::Document;

    use super::*;

    const LEAST: &str =
        "[[files]]\nname = \"nginx\"\nspiffe_id = \"spiffe://example.org/web\"\ndirectory = \"/etc/nginx/certs\"\n";

    fn parse(text: &str) -> Result<Vec<FileSetConfig>, String> {
        let document = Document::parse("agent.toml", text).map_err(|error| error.to_string())?;
        let sets = read(&document.root(), Some(&TrustDomain::parse("example.org").unwrap()));
        document.finish().map_err(|error| error.to_string())?;
        Ok(sets)
    }

    #[test]
    fn the_least_set_gets_the_defaults() {
        let sets = parse(LEAST).unwrap();
        let [set] = sets.as_slice() else { panic!("{sets:?}") };
        assert_eq!((set.key_mode, set.cert_mode, &set.reload), (0o600, 0o644, &None));
        assert_eq!(set.formats, Formats { pem: true, combined: false });
        assert_eq!(set.selector.as_str(), "signet:file:nginx");
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn a_whole_set_is_read() {
        let more = "owner = \"0\"\ngroup = \"www-data\"\nkey_mode = \"0640\"\ncert_mode = \"0444\"\nformats = [\"combined-pem\"]\n\
                    reload = { command = [\"nginx\", \"-s\", \"reload\"], timeout = \"5s\" }\n";
        let set = parse(&format!("{LEAST}{more}")).unwrap().remove(0);
        assert_eq!(set.ownership.owner, Some(Account::Id(0)));
        assert_eq!(set.ownership.group, Some(Account::Name("www-data".into())));
        assert_eq!((set.key_mode, set.cert_mode), (0o640, 0o444));
        assert_eq!(set.formats, Formats { pem: false, combined: true });
        let arguments = vec!["-s".to_owned(), "reload".to_owned()];
        let hook = CommandHook { program: "nginx".into(), arguments, timeout: Duration::from_secs(5) };
        assert_eq!(set.reload, Some(ReloadConfig::Command(hook)));
        let signal = "reload = { signal = \"HUP\", pid_file = \"/run/nginx.pid\", executable = \"/usr/sbin/nginx\" }\n";
        let set = parse(&format!("{LEAST}{signal}")).unwrap().remove(0);
        assert!(matches!(
            set.reload,
            Some(ReloadConfig::Signal(SignalHook { signal: ReloadSignal::Hup, executable: Some(_), .. }))
        ));
    }

    #[test]
    fn each_fault_is_refused_with_its_key() {
        for (more, key) in [
            ("key_mode = \"0644\"\n", "key_mode"),
            ("key_mode = \"0660\"\n", "key_mode"),
            ("key_mode = \"0200\"\n", "key_mode"),
            ("key_mode = \"x\"\n", "key_mode"),
            ("cert_mode = \"0664\"\n", "cert_mode"),
            ("cert_mode = \"4644\"\n", "cert_mode"),
            ("formats = [\"pkcs12\"]\n", "formats"),
            ("owner = \"\"\n", "owner"),
            ("reload = { signal = \"KILL\", pid_file = \"/p\" }\n", "signal"),
            ("reload = { signal = \"HUP\" }\n", "pid_file"),
            ("reload = { pid_file = \"/p\" }\n", "pid_file"),
            ("reload = { signal = \"HUP\", pid_file = \"p\" }\n", "pid_file"),
            ("reload = { signal = \"HUP\", pid_file = \"/p\", command = [\"x\"] }\n", "command"),
            ("reload = { command = [\"\"] }\n", "command"),
            ("reload = { timeout = \"5s\" }\n", "reload"),
            ("reload = { command = [\"x\"], timeout = \"1h\" }\n", "timeout"),
            ("reload = { shell = \"x\" }\n", "shell"),
            ("[[files]]\nname = \"nginx\"\nspiffe_id = \"spiffe://example.org/a\"\ndirectory = \"/b\"\n", "name"),
            ("[[files]]\nname = \"b\"\nspiffe_id = \"spiffe://example.org/a\"\ndirectory = \"/etc/nginx\"\n", "directory"),
            ("[[files]]\nname = \"b\"\nspiffe_id = \"spiffe://other.org/a\"\ndirectory = \"/b\"\n", "spiffe_id"),
            ("[[files]]\nname = \"b\"\nspiffe_id = \"spiffe://example.org/signet/ca/1\"\ndirectory = \"/b\"\n", "spiffe_id"),
            ("[[files]]\nname = \"B\"\nspiffe_id = \"spiffe://example.org/a\"\ndirectory = \"/b\"\n", "name"),
            ("[[files]]\nname = \"b\"\nspiffe_id = \"spiffe://example.org/a\"\ndirectory = \"/b/../c\"\n", "directory"),
            ("[[files]]\nname = \"b\"\nspiffe_id = \"spiffe://example.org/a\"\ndirectory = \"/\"\n", "directory"),
        ] {
            let error = parse(&format!("{LEAST}{more}")).unwrap_err();
            assert!(error.contains(key), "{more}: {error}");
        }
    }
}
