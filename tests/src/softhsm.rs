//! A PKCS #11 token of one test: SoftHSM in a directory of its own, behind a module that fails when it is told to.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::requirement::softhsm_root;
use crate::{Cli, CliOutput, TestBed, signet_binary};

/// The user's PIN.
pub const TOKEN_PIN: &str = "correct-horse-7";

/// How the module fails, until [`SoftHsm::heal`] unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// All sessions are closed, once.
    SessionsClosed,
    /// The device is gone.
    DeviceRemoved,
    /// It does not answer.
    Hangs,
    /// What it signs does not verify.
    SignsWrongly,
}

/// A token labelled "signet", and a CA's configuration for it.
#[derive(Debug)]
pub struct SoftHsm {
    home: PathBuf,
    root: PathBuf,
}

impl SoftHsm {
    /// A fresh token. Ask [`crate::needs`] for it first.
    ///
    /// # Panics
    /// When SoftHSM or the C compiler does not do its work.
    #[must_use]
    pub fn new(bed: &TestBed) -> Self {
        let made = Self { home: bed.path().join("token"), root: softhsm_root().expect("SoftHSM is there") };
        std::fs::create_dir(&made.home).expect("the bed is writable");
        let config =
            format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", made.tokens().display());
        std::fs::write(made.home.join("softhsm2.conf"), config).expect("the bed is writable");
        made.write_pin(TOKEN_PIN);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("pkcs11/faults.c");
        let mut compiler = Command::new("cc");
        checked(compiler.args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"]).arg(made.module()).arg(source).arg("-ldl"));
        made.format();
        made
    }

    /// Makes the token anew: what was in it is gone.
    ///
    /// # Panics
    /// When SoftHSM does not do its work.
    pub fn format(&self) {
        drop(std::fs::remove_dir_all(self.tokens()));
        std::fs::create_dir(self.tokens()).expect("the bed is writable");
        let mut tool = Command::new(self.root.join("usr/bin/softhsm2-util"));
        tool.args(["--init-token", "--free", "--label", "signet", "--so-pin", "so-pin-1234", "--pin", TOKEN_PIN, "--module"]);
        checked(tool.arg(self.real_module()).env("SOFTHSM2_CONF", self.home.join("softhsm2.conf")));
    }

    /// Writes the file of the PIN.
    ///
    /// # Panics
    /// When the bed is not writable.
    pub fn write_pin(&self, pin: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.home.join("pin");
        std::fs::write(&path, format!("{pin}\n")).expect("the bed is writable");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("our own file can be changed");
    }

    /// `[keys]` of a CA that uses the token of this label, and makes new keys in `store`.
    #[must_use]
    pub fn keys_table(&self, store: &str, label: &str) -> String {
        let (module, pin) = (self.module(), self.home.join("pin"));
        format!(
            "[keys]\nstore = \"{store}\"\n[keys.pkcs11]\nmodule = \"{}\"\ntoken = \"{label}\"\npin_file = \"{}\"\nsessions = 2\n",
            module.display(),
            pin.display()
        )
    }

    /// What stands before the words of a command that speaks to the token.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let variable = |name: &str, path: PathBuf| format!("{name}={}", path.display());
        vec![
            "env".to_owned(),
            variable("SOFTHSM2_CONF", self.home.join("softhsm2.conf")),
            variable("SIGNET_TEST_MODULE", self.real_module()),
            variable("SIGNET_TEST_FAULT", self.home.join("fault")),
        ]
    }

    /// Runs `signet` with these arguments beside the token.
    #[must_use]
    pub fn signet(&self, arguments: &[&str]) -> CliOutput {
        let words = self.words();
        let mut command = Command::new(words.first().expect("there are words"));
        command.args(words.get(1..).unwrap_or_default()).arg(signet_binary()).args(arguments);
        Cli::output_of(&mut command)
    }

    /// Lets calls fail from now on.
    ///
    /// # Panics
    /// When the bed is not writable.
    pub fn fail(&self, fault: TokenFault) {
        let letter = match fault {
            TokenFault::SessionsClosed => "c",
            TokenFault::DeviceRemoved => "r",
            TokenFault::Hangs => "h",
            TokenFault::SignsWrongly => "w",
        };
        std::fs::write(self.home.join("fault"), letter).expect("the bed is writable");
    }

    /// Lets calls go well again.
    pub fn heal(&self) {
        drop(std::fs::remove_file(self.home.join("fault")));
    }

    /// How many objects the token holds: two for each pair of keys.
    ///
    /// # Panics
    /// When the token is not there.
    #[must_use]
    pub fn objects(&self) -> usize {
        let tokens =
            std::fs::read_dir(self.tokens()).expect("there are tokens").map(|token| token.expect("it can be read").path());
        let files = tokens.flat_map(|token| std::fs::read_dir(token).expect("a token is a directory"));
        let is_object = |name: &str| name.ends_with(".object") && name != "token.object";
        files.filter(|file| file.as_ref().is_ok_and(|file| file.file_name().to_str().is_some_and(is_object))).count()
    }

    fn tokens(&self) -> PathBuf {
        self.home.join("tokens")
    }

    fn module(&self) -> PathBuf {
        self.home.join("faults.so")
    }

    fn real_module(&self) -> PathBuf {
        self.root.join("usr/lib/softhsm/libsofthsm2.so")
    }
}

fn checked(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&told));
}
