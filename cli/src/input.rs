//! What an operator names with a path: the file there, or standard input for `-`; never more than a bound.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::failure::Failure;

/// All bytes of a file (a pipe, such as a shell's `<(...)`, is one too), or of standard input for `-`.
///
/// # Errors
/// [`Failure`] when it cannot be read, or has more than `limit` bytes.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let (name, source): (String, io::Result<Box<dyn Read>>) = if path == Path::new("-") {
        ("standard input".to_owned(), Ok(Box::new(io::stdin().lock())))
    } else {
        (path.display().to_string(), File::open(path).map(|file| -> Box<dyn Read> { Box::new(file) }))
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = source.and_then(|source| source.take(bound).read_to_end(&mut bytes));
    read.map_err(|error| Failure::failed(format!("cannot read {name}")).because(error))?;
    if bytes.len() > limit {
        return Err(Failure::failed(format!("{name} is too long")).because(format!("at most {limit} bytes are read")));
    }
    Ok(bytes)
}
