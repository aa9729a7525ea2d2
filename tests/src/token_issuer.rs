//! An issuer of tokens whose keys lie in a file, as a platform would have it.

mod signer;

use std::path::PathBuf;

use pki::Timestamp;
use runtime::clock::SystemClock;
use serde_json::json;

use crate::TestBed;
pub(crate) use signer::TokenSigner;

/// The issuer, its one key, and the file with it.
pub struct TokenIssuer {
    signer: TokenSigner,
    file: PathBuf,
}

impl TokenIssuer {
    /// Of this test; the keys are in its directory.
    ///
    /// # Panics
    /// When they cannot be written.
    #[must_use]
    pub fn new(bed: &TestBed) -> Self {
        let signer = TokenSigner::new();
        let file = bed.write("jwks.json", &signer.key_set());
        Self { signer, file }
    }

    /// The `[[oidc]]` table by which a CA takes its tokens, for the audience `istio-ca`; with more keys of that table.
    #[must_use]
    pub fn rule(&self, more: &str) -> String {
        let file = self.file.display();
        format!("[[oidc]]\nissuer = \"https://issuer.example\"\naudiences = [\"istio-ca\"]\njwks_file = \"{file}\"\n{more}\n")
    }

    /// A token for the audience `istio-ca` and this subject, such as `system:serviceaccount:default:web`, good for ten minutes.
    ///
    /// # Panics
    /// When it cannot be signed.
    #[must_use]
    pub fn token(&self, subject: &str) -> String {
        let exp = Timestamp::from(SystemClock::shared().now()).unix_seconds() + 600;
        self.signer.sign(&json!({ "iss": "https://issuer.example", "aud": ["istio-ca"], "sub": subject, "exp": exp }))
    }
}
