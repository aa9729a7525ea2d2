//! Looks for secrets in the memory of another process, as root may (`/proc/<pid>/mem`, proc(5)).

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use pki::PrivateKey;

/// A secret in one of the forms in which a process may hold it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretForm {
    /// Whose secret, and in which form.
    pub name: String,
    bytes: Vec<u8>,
}

impl SecretForm {
    /// Whether this is the form that a backend calculates with, in objects of its own.
    #[must_use]
    pub fn is_the_backends(&self) -> bool {
        self.name.ends_with(MONTGOMERY)
    }

    /// A text.
    #[must_use]
    pub fn text(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), bytes: text.as_bytes().to_vec() }
    }

    /// The private scalar of a key on P-256: as it is encoded, with its bytes turned round (the words of a little-endian machine), as
    /// the lines of a PEM text, and as words in Montgomery form, which backends calculate with.
    ///
    /// # Panics
    /// When the key is none on P-256.
    #[must_use]
    pub fn p256(name: &str, pem: &str) -> Vec<Self> {
        let key = PrivateKey::from_pem(pem.as_bytes()).expect("a private key");
        let der = key.pkcs8_der();
        // RFC 5958 and RFC 5915: the OCTET STRING of 32 bytes begins after 34 bytes of what all keys on this curve have in common.
        assert_eq!(der.get(34..36), Some([0x04, 32].as_slice()), "{name} is a key on P-256");
        let scalar: [u8; 32] = der.get(36..68).and_then(|bytes| bytes.try_into().ok()).expect("the scalar has 32 bytes");
        let turned = |bytes: [u8; 32]| bytes.iter().rev().copied().collect::<Vec<_>>();
        let second_line = key.to_pkcs8_pem().lines().nth(2).expect("a key has three lines").to_owned();
        let form = |form: &str, bytes: Vec<u8>| Self { name: format!("{name}, {form}"), bytes };
        vec![
            form("encoded", scalar.to_vec()),
            form("as words", turned(scalar)),
            form("PEM", second_line.into_bytes()),
            form(MONTGOMERY, turned(to_montgomery(scalar))),
        ]
    }
}

const MONTGOMERY: &str = "Montgomery";

/// The order of the group of P-256 (SP 800-186 section 3.2.1.3), big-endian.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7,
    0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The scalar times 2^256, modulo the order: doubled 256 times.
fn to_montgomery(mut value: [u8; 32]) -> [u8; 32] {
    for _ in 0..256 {
        let mut carry = 0;
        for byte in value.iter_mut().rev() {
            let doubled = u16::from(*byte) * 2 + carry;
            (*byte, carry) = (doubled.to_be_bytes()[1], doubled >> 8);
        }
        if carry == 1 || value >= ORDER {
            let mut borrow = 0;
            for (byte, order) in value.iter_mut().zip(ORDER).rev() {
                let left = i16::from(*byte) - i16::from(order) - borrow;
                borrow = i16::from(left < 0);
                *byte = left.to_be_bytes()[1];
            }
        }
    }
    value
}

/// Where each form stands in the memory of a process: the mappings, once for each time. Forms that stand nowhere are left out.
///
/// # Panics
/// When the process is gone, or may not be looked at.
#[must_use]
pub fn found_in_memory(pid: u32, forms: &[SecretForm]) -> BTreeMap<String, Vec<String>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process can be looked at");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("root may read the memory of a process");
    let mut found = BTreeMap::<String, Vec<String>>::new();
    let mut read = 0_u64;
    for line in maps.lines() {
        let mut columns = line.split_ascii_whitespace();
        let (range, mode) = (columns.next().expect("a range"), columns.next().expect("a mode"));
        let mapping = columns.nth(3).unwrap_or("anonymous");
        if !mode.starts_with('r') || mapping.starts_with("[v") {
            continue;
        }
        let (begin, end) = range.split_once('-').expect("a range has two ends");
        let [begin, end] = [begin, end].map(|address| u64::from_str_radix(address, 16).expect("an address is hex"));
        let mut at = begin;
        while at < end {
            let length = usize::try_from((end - at).min(CHUNK + OVERLAP)).expect("a chunk fits");
            let mut bytes = vec![0; length];
            // A mapping may go, or shrink, while it is looked at.
            if memory.read_exact_at(&mut bytes, at).is_err() {
                break;
            }
            read += u64::try_from(length).expect("a length fits");
            let fresh = usize::try_from(CHUNK).expect("a chunk fits").min(length);
            search(&bytes, fresh, forms, |form| found.entry(form.name.clone()).or_default().push(mapping.to_owned()));
            at += CHUNK;
        }
    }
    assert!(read > 1 << 20, "a running process has more memory than {read} bytes");
    found
}

const CHUNK: u64 = 1 << 20;
/// Longer than every form, which may lie across two chunks.
const OVERLAP: u64 = 256;

/// Each place among the first `fresh` bytes where a form begins.
fn search(bytes: &[u8], fresh: usize, forms: &[SecretForm], mut hit: impl FnMut(&SecretForm)) {
    let mut begins = [false; 256];
    for form in forms {
        begins[usize::from(form.bytes[0])] = true;
    }
    for (at, byte) in bytes[..fresh].iter().enumerate() {
        if begins[usize::from(*byte)] {
            forms.iter().filter(|form| bytes[at..].starts_with(&form.bytes)).for_each(&mut hit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn montgomery_form_is_the_product_with_the_radix() {
        let number = |value: u8| {
            let mut bytes = [0; 32];
            bytes[31] = value;
            bytes
        };
        // 2^256 - n, since n is above 2^255.
        let mut one = [0; 32];
        let mut borrow = 0;
        for (byte, order) in one.iter_mut().zip(ORDER).rev() {
            let left = -i16::from(order) - borrow;
            borrow = i16::from(left < 0);
            *byte = left.to_be_bytes()[1];
        }
        assert_eq!(to_montgomery(number(1)), one);
        assert_eq!(to_montgomery(number(0)), number(0));
        let [a, b] = [to_montgomery(number(1)), to_montgomery(number(2))];
        let mut doubled = a;
        let mut carry = 0;
        for byte in doubled.iter_mut().rev() {
            let value = u16::from(*byte) * 2 + carry;
            (*byte, carry) = (value.to_be_bytes()[1], value >> 8);
        }
        assert_eq!(b, doubled, "2^257 - 2n is below n");
    }

    #[test]
    fn what_lies_across_two_chunks_is_found_once() {
        let form = SecretForm::text("x", "secret");
        let mut count = 0;
        search(b"..sec", 5, std::slice::from_ref(&form), |_| count += 1);
        search(b"..secret..secret", 9, std::slice::from_ref(&form), |_| count += 1);
        assert_eq!(count, 1);
    }
}
