//! Project Wycheproof's vectors (`testdata/wycheproof`) run through the seam, each as the bytes of a peer or of a file come in. The
//! figures are those of both backends: where one of them differed, its count would.

mod passphrases;
mod signatures;

fn unhex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}
