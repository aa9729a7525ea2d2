use proptest::prelude::*;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// A literal with incremental indexing whose name is written out, none of it in Huffman's code.
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let (name_length, value_length) = (u8::try_from(name.len()).unwrap(), u8::try_from(value.len()).unwrap());
    [&[0x40, name_length], name, &[value_length], value].concat()
}

/// What gRPC's C core sends first, frame by frame.
fn c_core(authority: &[u8]) -> Vec<u8> {
    let settings = frame(4, 0, &[0, 2, 0, 0, 0, 0, 0, 4, 0, 0x40, 0, 0]);
    let block = [
        literal(b":path", b"/SpiffeWorkloadAPI/FetchX509SVID"),
        literal(b":authority", authority),
        vec![0x83, 0x86],
        literal(b"content-type", b"application/grpc"),
        literal(b"workload.spiffe.io", b"true%2F"),
    ];
    [PREFACE.to_vec(), settings, frame(1, 4, &block.concat()), frame(0, 1, b"%2Fdata")].concat()
}

fn passed(bytes: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut filter = AuthorityFilter::new();
    let mut bytes = bytes.to_vec();
    let mut rest = bytes.as_mut_slice();
    for cut in cuts {
        let (now, later) = rest.split_at_mut((*cut).min(rest.len()));
        filter.pass(now);
        rest = later;
    }
    filter.pass(rest);
    bytes
}

#[test]
fn the_path_that_c_core_and_java_send_becomes_an_authority_and_nothing_else_changes() {
    for (sent, becomes) in [
        (&b"tmp%2Frun%2Fapi.sock"[..], &b"tmp-2Frun-2Fapi.sock"[..]),
        (b"/run/signet/api.sock", b"-run-signet-api.sock"),
        (b"localhost", b"localhost"),
        (b"", b""),
    ] {
        assert_eq!(passed(&c_core(sent), &[]), c_core(becomes));
        assert!(http::uri::Authority::try_from(becomes).is_ok() || becomes.is_empty());
    }
}

#[test]
fn each_way_to_write_the_field_is_known() {
    let value = b"a%2Fb";
    let written = |head: &[u8]| [head, &[5], value].concat();
    let huffman_name = [&[0x00, 0x88][..], HUFFMAN_NAME].concat();
    for head in [&[0x41][..], &[0x01], &[0x11], &huffman_name, b"\x40\x0a:authority", b"\x10\x0a:authority"] {
        // Behind an indexed field, a change of the table's size and a long index, so that each kind of integer is passed.
        let before = [0x82, 0x3f, 0xe1, 0x1f, 0xff, 0x80, 0x01];
        let block = [&before[..], &written(head), &written(head)].concat();
        let sent = [PREFACE, &frame(1, 4, &block)].concat();
        let got = passed(&sent, &[]);
        assert_eq!(got.len(), sent.len());
        assert_eq!(String::from_utf8_lossy(&got).matches("a-2Fb").count(), 2, "{head:x?}");
    }
    for other in [&[0x42][..], &[0x04], b"\x40\x0a:authoritx", b"\x40\x09:authorit"] {
        let sent = [PREFACE, &frame(1, 4, &written(other))].concat();
        assert_eq!(passed(&sent, &[]), sent, "{other:x?}");
    }
}

#[test]
fn a_value_in_huffmans_code_becomes_one_of_the_same_length() {
    for length in 1..40_u8 {
        let sent = [PREFACE, &frame(1, 4, &[&[0x41, 0x80 | length][..], &vec![0xff; length.into()]].concat())].concat();
        let got = passed(&sent, &[]);
        let value = &got[got.len() - usize::from(length)..];
        let bits: String = value.iter().map(|byte| format!("{byte:08b}")).collect();
        let letters = bits.len() / 5;
        assert_eq!(bits[..letters * 5], "00011".repeat(letters));
        assert!(bits[letters * 5..].chars().all(|bit| bit == '1'), "padding of fewer than 8 ones");
    }
}

#[test]
fn a_block_goes_on_in_further_frames_behind_padding_and_priority() {
    let block = literal(b":authority", b"x%2Fy");
    for cut in 0..=block.len() {
        let first = [&[3][..], &[0; 5], &block[..cut], &[0; 3]].concat();
        let sent = [PREFACE, &frame(1, PADDED | PRIORITY, &first), &frame(0, 0, b""), &frame(9, 4, &block[cut..])].concat();
        let got = passed(&sent, &[]);
        assert!(!String::from_utf8_lossy(&got).contains('%'), "cut at {cut}");
        assert_eq!(got.len(), sent.len());
    }
}

#[test]
fn what_is_no_header_block_passes_unchanged_for_good() {
    let good = frame(1, 4, &literal(b":authority", b"x%2Fy"));
    let endless = [&[0xff][..], &[0xff; 8]].concat();
    for bad in [frame(1, 4, &endless), frame(1, PADDED, &[9, 1]), frame(1, PRIORITY, &[1, 2])] {
        let sent = [PREFACE, &bad, &good].concat();
        assert_eq!(passed(&sent, &[]), sent);
    }
}

proptest! {
    #[test]
    fn how_the_bytes_come_in_changes_nothing(cuts in prop::collection::vec(0_usize..40, 0..40)) {
        let sent = c_core(b"tmp%2Frun%2Fapi.sock");
        prop_assert_eq!(passed(&sent, &cuts), c_core(b"tmp-2Frun-2Fapi.sock"));
    }

    #[test]
    fn no_bytes_make_it_panic_or_change_a_length(bytes in prop::collection::vec(any::<u8>(), 0..400), as_block in any::<bool>()) {
        let sent = if as_block { [PREFACE, &frame(1, 4, &bytes)].concat() } else { [PREFACE, &bytes].concat() };
        prop_assert_eq!(passed(&sent, &[]).len(), sent.len());
    }
}
