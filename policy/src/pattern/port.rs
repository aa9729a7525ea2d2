//! Ports as a policy writes them.

/// Why a text is not a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a port; a port is a decimal number between 0 and 65535")]
pub struct PortError {
    /// The text met.
    pub found: String,
}

/// Parses a port: decimal digits without sign or leading zero, 0 to 65535.
///
/// # Errors
/// [`PortError`] when it is anything else.
pub fn parse_port(text: &str) -> Result<u16, PortError> {
    let refused = || PortError { found: text.to_owned() };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) || (text.len() > 1 && text.starts_with('0')) {
        return Err(refused());
    }
    text.parse().map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_numbers_in_range_and_nothing_else() {
        for (text, port) in [("0", 0), ("80", 80), ("65535", u16::MAX)] {
            assert_eq!(parse_port(text), Ok(port));
        }
        for text in ["", "65536", "-1", "+80", " 80", "8 0", "0x50", "080", "http", "99999999999999999999"] {
            assert_eq!(parse_port(text), Err(PortError { found: text.to_owned() }));
        }
    }
}
