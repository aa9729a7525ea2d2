//! Identities on disk, for programs that read certificates from files and nothing else.
//!
//! A set is written because two sides agree: the agent's configuration names an identity and a directory (`[[files]]`), and the CA's
//! operator allowed this node to write it, by an entry with the selector `signet:file:<name>`. No process ever has that selector, so
//! such an entry gives nothing over the socket, and no other entry is ever written to disk.
//!
//! * [`config`]: what is asked for. `contents`: which files a set has.
//! * `directory`: the directory, checked, and the switch from one whole set to the next.
//! * `reload`: telling the program. `keeper`: when to do which. `board`: what people see of it.

pub(crate) mod board;
pub mod config;
mod contents;
mod directory;
pub(crate) mod keeper;
mod reload;

pub(crate) use board::FileBoard;
pub(crate) use keeper::FileKeeper;

/// Everything that would keep a set from being written, found without writing.
pub(crate) fn faults(sets: &[config::FileSetConfig]) -> Vec<String> {
    let fault = |set: &config::FileSetConfig| {
        let checked = directory::check(&set.directory).and_then(|()| set.ownership.resolve().map(|_| ()));
        checked.err().map(|error| format!("files {}: {error}", set.name))
    };
    sets.iter().filter_map(fault).collect()
}
