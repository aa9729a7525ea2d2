//! How calls make room for their messages: as much as each one needs.
//!
//! What tonic generates by default has 8 KiB ready for each direction of each call, for as long as it lasts, and a stream of an agent lasts for
//! months: that was a fifth of what an agent costs the CA.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{self, BufferSettings, EncodeBuf};
use tonic_prost::ProstDecoder;

/// A stream that has several messages ready gives them to the transport together, up to so many bytes: tonic's own figure.
const TOGETHER_BYTES: usize = 32 * 1024;

/// The codec of every service that is generated here; the same bytes as [`tonic_prost::ProstCodec`] writes and reads.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Encoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        Encoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(nothing_ready())
    }
}

fn nothing_ready() -> BufferSettings {
    BufferSettings::new(0, TOGETHER_BYTES)
}

/// Makes room for exactly the message that it writes.
#[derive(Debug)]
pub struct Encoder<T>(PhantomData<T>);

impl<T: Message> codec::Encoder for Encoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        // Only a buffer that is full refuses, and this one grows.
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        nothing_ready()
    }
}
