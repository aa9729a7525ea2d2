//! Shapes that certificates and requests share, read strictly: the parser behind leaves out what it cannot read at the end of a
//! name or an extension, and says nothing.

use crate::der::{BOOLEAN, DerError, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, SET};

/// Checks the content of a Name (RFC 5280 section 4.1.2.4): parts, each with one or more types that have a value.
pub(crate) fn check_name(content: &[u8]) -> Result<(), DerError> {
    let mut parts = Reader::new(content);
    while !parts.is_empty() {
        let mut attributes = Reader::new(parts.expect(SET)?);
        loop {
            let mut attribute = Reader::new(attributes.expect(SEQUENCE)?);
            attribute.expect(OBJECT_IDENTIFIER)?;
            attribute.next()?;
            attribute.finish()?;
            if attributes.is_empty() {
                break;
            }
        }
    }
    Ok(())
}

/// The next extension (RFC 5280 section 4.1): its object identifier (the content) and its value.
pub(crate) fn read_extension<'a>(extensions: &mut Reader<'a>) -> Result<(&'a [u8], &'a [u8]), DerError> {
    let mut extension = Reader::new(extensions.expect(SEQUENCE)?);
    let oid = extension.expect(OBJECT_IDENTIFIER)?;
    extension.optional(BOOLEAN)?;
    let value = extension.expect(OCTET_STRING)?;
    extension.finish()?;
    Ok((oid, value))
}
