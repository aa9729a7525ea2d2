//! PEM (RFC 7468), strict inside blocks, with text allowed between them.
//!
//! Files from other tools carry lines of explanation around the blocks, so these are skipped, but a line that looks like a
//! damaged boundary refuses the whole: a certificate must not vanish from a bundle by a typing slip.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::{Certificate, CertificateError};

/// The longest PEM text read, in bytes: room for hundreds of ordinary certificates.
pub(crate) const MAX_PEM_BYTES: usize = 1024 * 1024;

const LINE_CHARACTERS: usize = 64;
/// The bytes that fill one line of 64 characters.
const LINE_BYTES: usize = 48;
pub(crate) const CERTIFICATE: &str = "CERTIFICATE";
const CERTIFICATE_REQUEST: &str = "CERTIFICATE REQUEST";

/// Why a text is not PEM. Line numbers count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// Over the size limit.
    #[error("the PEM text has {found} bytes, at most {limit} are read")]
    TooLong {
        /// The length met, in bytes.
        found: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A line outside a block that looks like part of one.
    #[error("line {line} looks like a damaged PEM boundary")]
    Stray {
        /// Where.
        line: usize,
    },
    /// A begin line without a proper label.
    #[error("line {line} is a PEM boundary with a malformed label")]
    Label {
        /// Where.
        line: usize,
    },
    /// A block that does not end with its own end line.
    #[error("the PEM block that begins on line {line} has no matching end line")]
    Unended {
        /// Where the block begins.
        line: usize,
    },
    /// Header lines inside a block (RFC 1421), other than those of an encrypted key.
    #[error("the PEM block that begins on line {line} has header lines, which are not read")]
    Headers {
        /// Where the block begins.
        line: usize,
    },
    /// Header lines that say that the block is encrypted.
    #[error("the PEM block is encrypted")]
    Encrypted,
    /// The content is not base64.
    #[error("the PEM block that begins on line {line} is not base64")]
    Base64 {
        /// Where the block begins.
        line: usize,
    },
}

/// One block: its label, and its content, which may be a secret.
pub(crate) struct Block {
    pub(crate) label: String,
    pub(crate) der: Zeroizing<Vec<u8>>,
}

/// All blocks of a text, in order.
pub(crate) fn blocks(pem: &[u8]) -> Result<Vec<Block>, PemError> {
    blocks_within(pem, MAX_PEM_BYTES)
}

/// As [`blocks`], of a text of at most `limit` bytes.
pub(crate) fn blocks_within(pem: &[u8], limit: usize) -> Result<Vec<Block>, PemError> {
    if pem.len() > limit {
        return Err(PemError::TooLong { found: pem.len(), limit });
    }
    let mut lines = pem.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    let mut blocks = Vec::new();
    while let Some((index, line)) = lines.next() {
        let begin = index + 1;
        let Some(label) = boundary_label(line, b"-----BEGIN ") else {
            if line.windows(4).any(|window| window == b"----") {
                return Err(PemError::Stray { line: begin });
            }
            continue;
        };
        let label = label.ok_or(PemError::Label { line: begin })?;
        let mut body = Vec::new();
        loop {
            let (_, line) = lines.next().ok_or(PemError::Unended { line: begin })?;
            if line.starts_with(b"-----") {
                if boundary_label(line, b"-----END ").flatten().as_ref() != Some(&label) {
                    return Err(PemError::Unended { line: begin });
                }
                break;
            }
            if line.contains(&b':') {
                let encrypted = line.windows(9).any(|window| window == b"ENCRYPTED");
                return Err(if encrypted { PemError::Encrypted } else { PemError::Headers { line: begin } });
            }
            body.push(line);
        }
        // Joined in one go: a buffer that grows would leave pieces of a key behind where it was before.
        let body = Zeroizing::new(body.concat());
        blocks.push(Block { label, der: decode(&body).ok_or(PemError::Base64 { line: begin })? });
    }
    Ok(blocks)
}

/// `Some` when the line begins like the boundary; inside, the label if it is well formed.
fn boundary_label(line: &[u8], start: &[u8]) -> Option<Option<String>> {
    let rest = line.strip_prefix(start)?;
    Some(rest.strip_suffix(b"-----").and_then(|label| {
        let plain = label.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ');
        std::str::from_utf8(label).ok().filter(|label| plain && !label.is_empty()).map(str::to_owned)
    }))
}

fn decode(body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // The decoder would take several padded texts one after the other as one.
    let (before_padding, _) = body.split_at(body.len().saturating_sub(2));
    if before_padding.contains(&b'=') {
        return None;
    }
    let mut der = Zeroizing::new(vec![0; BASE64.decode_len(body.len()).ok()?]);
    let length = BASE64.decode_mut(body, &mut der).ok()?;
    der.truncate(length);
    Some(der)
}

/// One block, in lines of 64 characters, with a newline at the end.
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let lines = der.len().div_ceil(LINE_BYTES);
    // Reserved in one go, so that a secret is not left behind in a smaller buffer.
    let mut text = Zeroizing::new(String::with_capacity(lines * (LINE_CHARACTERS + 1) + 2 * label.len() + 40));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for line in der.chunks(LINE_BYTES) {
        BASE64.encode_append(line, &mut text);
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// All certificates of a PEM text, in order. Anything that is no certificate, or does not parse, refuses the whole; lines of
/// explanation between the blocks are skipped. A text of white space alone gives none.
///
/// # Errors
/// [`CertificateError`] when the text is no PEM, holds another kind of block or a bad certificate, or holds text but no
/// certificate.
pub fn certificates_from_pem(pem: &[u8]) -> Result<Vec<Certificate>, CertificateError> {
    certificate_blocks(pem)?.iter().map(|der| Certificate::from_der(der)).collect()
}

/// The content of all certificate blocks of a text, unparsed, which is all that it may hold besides lines of explanation.
pub(crate) fn certificate_blocks(pem: &[u8]) -> Result<Vec<Zeroizing<Vec<u8>>>, CertificateError> {
    let blocks = blocks(pem)?;
    if blocks.is_empty() && !pem.trim_ascii().is_empty() {
        return Err(CertificateError::NoneInPem);
    }
    blocks
        .into_iter()
        .map(|Block { label, der }| if label == CERTIFICATE { Ok(der) } else { Err(CertificateError::PemLabel { label }) })
        .collect()
}

/// The DER of the one certificate request that a PEM text holds (RFC 7468 section 7), which is all that it may hold besides lines
/// of explanation. Not parsed here: that is [`crate::VerifiedRequest::parse`]'s.
///
/// # Errors
/// [`RequestPemError`] when the text is no PEM, or holds another block, none, or more than one.
pub fn request_from_pem(pem: &[u8]) -> Result<Vec<u8>, RequestPemError> {
    let blocks = blocks(pem)?;
    match &blocks[..] {
        [Block { label, der }] if label == CERTIFICATE_REQUEST => Ok(der.to_vec()),
        [Block { label, der: _ }] => Err(RequestPemError::Label { label: label.chars().take(64).collect() }),
        blocks => Err(RequestPemError::Count { found: blocks.len() }),
    }
}

/// Why a PEM text is not one certificate request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestPemError {
    /// It is no PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Its block is something else.
    #[error("the PEM block is a {label:?}, not a \"CERTIFICATE REQUEST\"")]
    Label {
        /// What it is, cut to 64 characters.
        label: String,
    },
    /// None, or several.
    #[error("the text holds {found} PEM blocks, and must hold exactly one \"CERTIFICATE REQUEST\"")]
    Count {
        /// How many.
        found: usize,
    },
}

/// A certificate request as PEM text, one block with a newline after it.
#[must_use]
pub fn request_to_pem(der: &[u8]) -> String {
    encode(CERTIFICATE_REQUEST, der).as_str().to_owned()
}

/// The certificates as PEM text, one block each, with a newline after each.
#[must_use]
pub fn certificates_to_pem<'a>(certificates: impl IntoIterator<Item = &'a Certificate>) -> String {
    certificates.into_iter().map(|certificate| encode(CERTIFICATE, certificate.der()).as_str().to_owned()).collect()
}

#[cfg(test)]
mod tests;
