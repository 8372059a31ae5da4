//! Strings of bytes in a body, each compressed where that pays.

use std::borrow::Cow;

use protocol::limits::DECODED_BYTES_MAX;

use crate::SegmentError;
use crate::content::check_limit;

/// The level of the batches; higher ones gain nothing on a few kilobytes.
const LEVEL: i32 = 3;

/// Below this many bytes a zstd frame costs more than it saves.
const COMPRESSED_FROM: usize = 32;

/// How one string lies in the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) length: usize,
    pub(crate) is_compressed: bool,
}

impl Stored {
    /// Of a body that was dropped.
    pub(crate) const NOTHING: Self = Self { length: 0, is_compressed: false };
}

/// Compresses; its tables are set up once for a segment.
pub(crate) struct Packer(Option<zstd::bulk::Compressor<'static>>);

impl Packer {
    pub(crate) fn new() -> Self {
        Self(zstd::bulk::Compressor::new(LEVEL).ok())
    }

    /// Appends a string as it is or compressed, whichever is shorter.
    pub(crate) fn append(&mut self, out: &mut Vec<u8>, plain: &[u8]) -> Result<Stored, SegmentError> {
        check_limit("bytes of one column", plain.len(), DECODED_BYTES_MAX)?;
        let compressed = if plain.len() < COMPRESSED_FROM { None } else { self.compress(plain) };
        match compressed.filter(|compressed| compressed.len() < plain.len()) {
            Some(compressed) => {
                out.extend(&compressed);
                Ok(Stored { length: compressed.len(), is_compressed: true })
            }
            None => {
                out.extend(plain);
                Ok(Stored { length: plain.len(), is_compressed: false })
            }
        }
    }

    /// `None` where there is no memory for it; then it stays plain.
    pub(crate) fn compress(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.as_mut().and_then(|compressor| compressor.compress(plain).ok())
    }
}

/// The string that lies at `place`.
pub(crate) fn unpack<'a>(
    body: &'a [u8],
    place: usize,
    stored: Stored,
    part: &'static str,
) -> Result<Cow<'a, [u8]>, SegmentError> {
    let bytes = place.checked_add(stored.length).and_then(|end| body.get(place..end));
    let bytes =
        bytes.ok_or_else(|| SegmentError::field("directory", format!("the {part} end after the body")))?;
    if stored.is_compressed { decompress(bytes, part).map(Cow::Owned) } else { Ok(Cow::Borrowed(bytes)) }
}

pub(crate) fn decompress(frame: &[u8], part: &'static str) -> Result<Vec<u8>, SegmentError> {
    let failed = || SegmentError::Compression { part, limit: DECODED_BYTES_MAX };
    // What we write states its size; a lying frame gains nothing but the claim, which is limited.
    let size = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten().ok_or_else(failed)?;
    let size = usize::try_from(size).ok().filter(|size| *size <= DECODED_BYTES_MAX).ok_or_else(failed)?;
    zstd::bulk::decompress(frame, size).map_err(|_| failed())
}
