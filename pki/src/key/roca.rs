//! The fingerprint of RSA keys from the flawed generator of CVE-2017-15361: modulo each small prime, the modulus is a power of
//! 65537. A sound key looks so to all of these primes with a chance far below one in 2^100.

/// The primes that the generator's primorial for 2048-bit keys begins with.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127,
    131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether a modulus, big-endian, looks as if that generator had made it.
pub(super) fn has_roca_fingerprint(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        let remainder = modulus.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let powers = std::iter::successors(Some(1), |power| Some(power * 65537 % prime));
        // The powers repeat after at most prime - 1 steps.
        powers.zip(1..*prime).any(|(power, _)| power == remainder)
    })
}
