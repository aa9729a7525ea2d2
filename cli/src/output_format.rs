//! The two forms of every result and of every error.

use clap::ValueEnum;

/// How results look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}
