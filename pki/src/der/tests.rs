use super::*;

#[test]
fn one_strict_value_passes_and_each_fault_has_its_error() {
    let canonical = |tag| DerError::NotCanonical { tag };
    let deep = (0..40).fold(vec![0x05, 0x00], |inner, _| encode(SEQUENCE, &[&inner]).to_vec());
    for good in [
        &[0x30, 0x00][..],
        &[0x01, 0x01, 0xff],
        &[0x02, 0x02, 0x00, 0x80],
        &[0x03, 0x02, 0x07, 0x80],
        &[0x06, 0x03, 0x55, 0x1d, 0x0f],
        b"\x17\x0d261120110000Z",
        b"\x18\x0f20501120110000Z",
        &[0x30, 0x05, 0xa0, 0x03, 0x0a, 0x01, 0x00],
    ] {
        assert_eq!(check(good), Ok(()), "{good:02x?}");
    }
    for (bad, error) in [
        (&[][..], DerError::Truncated),
        (&[0x30], DerError::Truncated),
        (&[0x30, 0x01], DerError::Truncated),
        (&[0x30, 0x80, 0x00, 0x00], DerError::IndefiniteLength),
        (&[0x30, 0x81, 0x00], DerError::Length),
        (&[0x30, 0x82, 0x00, 0x80], DerError::Length),
        (&[0x30, 0x85, 1, 0, 0, 0, 0], DerError::Length),
        (&[0x30, 0x88, 0x80, 0, 0, 0, 0, 0, 0, 0], DerError::Length),
        (&[0x30, 0x84, 0x80, 0, 0, 0], DerError::Truncated),
        (&[0x1f, 0x01, 0x00], DerError::HighTagNumber),
        (&[0x05, 0x00, 0x05, 0x00], DerError::Trailing { bytes: 2 }),
        (&[0x01, 0x01, 0x01], canonical(0x01)),
        (&[0x02, 0x00], canonical(0x02)),
        (&[0x02, 0x02, 0x00, 0x7f], canonical(0x02)),
        (&[0x02, 0x02, 0xff, 0x80], canonical(0x02)),
        (&[0x03, 0x00], canonical(0x03)),
        (&[0x03, 0x02, 0x08, 0x00], canonical(0x03)),
        (&[0x03, 0x02, 0x04, 0x08], canonical(0x03)),
        (&[0x05, 0x01, 0x00], canonical(0x05)),
        (&[0x06, 0x00], canonical(0x06)),
        (&[0x06, 0x02, 0x55, 0x80], canonical(0x06)),
        (&[0x06, 0x03, 0x55, 0x80, 0x01], canonical(0x06)),
        (&[0x10, 0x00], canonical(0x10)),
        (&[0x24, 0x00], canonical(0x24)),
        (b"\x17\x0b2611201100Z", canonical(0x17)),
        (b"\x18\x1120501120110000.5Z", canonical(0x18)),
        (&deep, DerError::Depth { limit: 24 }),
    ] {
        assert_eq!(check(bad), Err(error), "{bad:02x?}");
    }
}

#[test]
fn lengths_are_written_in_their_shortest_form() {
    for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
        let content = vec![7; length];
        let encoded = encode(OCTET_STRING, &[&content]);
        assert_eq!(check(&encoded), Ok(()));
        assert_eq!(Reader::only(&encoded, OCTET_STRING), Ok(&content[..]));
    }
    assert_eq!(*encode(SEQUENCE, &[b"ab", b"c"]), b"\x30\x03abc");
}

#[test]
fn unsigned_integers_and_object_identifiers() {
    assert_eq!(Reader::new(&[0x02, 0x02, 0x00, 0x80]).unsigned_integer(), Ok(&[0x80][..]));
    assert_eq!(Reader::new(&[0x02, 0x01, 0x00]).unsigned_integer(), Ok(&[][..]));
    assert_eq!(Reader::new(&[0x02, 0x01, 0x80]).unsigned_integer(), Err(DerError::NotCanonical { tag: INTEGER }));
    assert_eq!(Reader::new(&[0x02, 0x02, 0x00, 0x01]).unsigned_integer(), Err(DerError::NotCanonical { tag: INTEGER }));
    assert_eq!(oid_text(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]), "1.2.840.10045.2.1");
    assert_eq!(oid_text(&[0x55, 0x1d, 0x0f]), "2.5.29.15");
    assert_eq!(oid_text(&[0x88, 0x37, 0x01]), "2.999.1");
}
