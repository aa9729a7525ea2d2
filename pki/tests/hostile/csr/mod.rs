//! `testdata/csr-hostile`: requests made to break a reader, each with the one error that must refuse it.
//!
//! `index.json` names each file, what is wrong with it, the variant expected, and the accepted file that it was made from by one
//! change: what refuses the one and not the other is that change. Wishes of every kind stand in accepted files too: a request
//! may ask for anything, and gets none of it.

mod attributes;
mod encoding;
mod keys;
mod names;
mod pem;
mod replay;
mod request;
mod signatures;
mod structure;

use serde_json::{Value, json};

/// The identity that the caller is taken to be admitted as.
const ADMITTED: &str = "spiffe://example.org/web";

/// One file.
struct Case {
    /// Its name; the ending says whether it is read as PEM or as DER.
    file: String,
    about: String,
    content: Vec<u8>,
    /// How often the content stands one after the other: what would be large is not kept so.
    repeat: usize,
    outcome: Outcome,
}

enum Outcome {
    Accepted,
    Refused {
        /// The variant, in the words of [`crate::corpus::variant`].
        by: String,
        /// The accepted file that differs from it in one thing.
        twin: String,
    },
}

/// An accepted file.
fn good(file: &str, about: &str, content: Vec<u8>) -> Case {
    Case { file: file.to_owned(), about: about.to_owned(), content, repeat: 1, outcome: Outcome::Accepted }
}

/// A refused DER file, made from `twin`.
fn bad(file: &str, about: &str, content: Vec<u8>, by: &str, twin: &str) -> Case {
    let outcome = Outcome::Refused { by: by.to_owned(), twin: twin.to_owned() };
    Case { file: file.to_owned(), about: about.to_owned(), content, repeat: 1, outcome }
}

impl Case {
    fn repeated(self, repeat: usize) -> Self {
        Self { repeat, ..self }
    }

    fn index_line(&self) -> Value {
        let mut line = json!({ "file": self.file, "about": self.about });
        if self.repeat != 1 {
            line["repeat"] = self.repeat.into();
        }
        match &self.outcome {
            Outcome::Accepted => line["accepted"] = true.into(),
            Outcome::Refused { by, twin } => {
                line["refused"] = by.as_str().into();
                line["twin"] = twin.as_str().into();
            }
        }
        line
    }
}

/// The whole corpus, in order.
fn corpus() -> Vec<Case> {
    [encoding::cases(), structure::cases(), keys::cases(), signatures::cases(), attributes::cases(), names::cases(), pem::cases()]
        .into_iter()
        .flatten()
        .collect()
}
