//! The first byte of every message (SPEC section 4): how the rest is packed.

use prost::Message;

use crate::DecodeError;
use crate::limits::{DECODED_BYTES_MAX, MESSAGE_BYTES_MAX};

/// A batch header, then a compressed protobuf message; see [`crate::BatchHeader`].
pub(crate) const BATCH: u8 = 0x01;
/// A plain protobuf message.
const PLAIN: u8 = 0x02;
/// A compressed protobuf message.
const COMPRESSED: u8 = 0x03;

/// Level 3: the knee of the curve for batches of a few kilobytes.
const ZSTD_LEVEL: i32 = 3;

pub(crate) fn seal_plain(message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    bytes.push(PLAIN);
    message.encode_raw(&mut bytes);
    bytes
}

pub(crate) fn open_plain<M: Message + Default>(bytes: &[u8], name: &'static str) -> Result<M, DecodeError> {
    check_size(bytes)?;
    match bytes.split_first() {
        Some((&PLAIN, body)) => parse(body, name),
        Some((&found, _)) => Err(DecodeError::UnknownContainer { found }),
        None => Err(DecodeError::TooShort { actual: 0, needed: 1 }),
    }
}

pub(crate) fn seal_compressed(message: &impl Message) -> Vec<u8> {
    let mut bytes = vec![COMPRESSED];
    bytes.append(&mut compress(message));
    bytes
}

pub(crate) fn open_compressed<M: Message + Default>(
    bytes: &[u8],
    name: &'static str,
) -> Result<M, DecodeError> {
    check_size(bytes)?;
    match bytes.split_first() {
        Some((&COMPRESSED, body)) => decompress(body, name),
        Some((&found, _)) => Err(DecodeError::UnknownContainer { found }),
        None => Err(DecodeError::TooShort { actual: 0, needed: 1 }),
    }
}

pub(crate) fn compress(message: &impl Message) -> Vec<u8> {
    zstd::bulk::compress(&message.encode_to_vec(), ZSTD_LEVEL)
        .expect("compression into a growing buffer has no way to fail")
}

pub(crate) fn decompress<M: Message + Default>(body: &[u8], name: &'static str) -> Result<M, DecodeError> {
    let failed = DecodeError::Compression { limit: DECODED_BYTES_MAX };
    // A frame states its decoded size; an honest one lets us claim just that, a lying one gains nothing.
    let capacity = zstd::zstd_safe::get_frame_content_size(body).ok().flatten().unwrap_or(0);
    let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
    if capacity > DECODED_BYTES_MAX {
        return Err(failed);
    }
    let capacity = if capacity == 0 { DECODED_BYTES_MAX } else { capacity };
    let plain = zstd::bulk::decompress(body, capacity).map_err(|_| failed)?;
    parse(&plain, name)
}

pub(crate) fn check_size(bytes: &[u8]) -> Result<(), DecodeError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(DecodeError::TooLarge {
            what: "the message in bytes",
            actual: bytes.len(),
            allowed: MESSAGE_BYTES_MAX,
        });
    }
    Ok(())
}

fn parse<M: Message + Default>(body: &[u8], name: &'static str) -> Result<M, DecodeError> {
    M::decode(body).map_err(|e| DecodeError::Protobuf { message: name, detail: e.to_string() })
}
