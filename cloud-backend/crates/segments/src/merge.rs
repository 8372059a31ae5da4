//! What becomes of a segment when more comes for its minute: the rest of the minute, or data that are late.

use crate::{Content, Head, SealedSegment, SegmentError};

/// A segment as a store holds it.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// Its head.
    pub head: &'a [u8],
    /// Its body; `None` when it was dropped.
    pub body: Option<&'a [u8]>,
}

/// What to write, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// Nothing: all of it was there.
    Unchanged,
    /// This segment, in the place of the one that was there, if there was one.
    Replaced(SealedSegment),
    /// The samples of the minute are no longer there. The head takes the place of the old one and covers everything;
    /// the late segment is kept beside it, so that its samples find their way to the archive.
    Beside {
        /// Provenance and statistics of all.
        head: Vec<u8>,
        /// What came late, without what was there.
        late: SealedSegment,
    },
}

/// Adds a content to the segment of its minute. Doing it again changes nothing.
///
/// # Errors
/// What is stored cannot be read, or would become too large. Nothing is to be written; the batches stay where they are.
pub fn merge(stored: Option<Stored<'_>>, content: Content) -> Result<Merged, SegmentError> {
    let Some(stored) = stored else {
        return if content.is_empty() {
            Ok(Merged::Unchanged)
        } else {
            Ok(Merged::Replaced(content.seal()?))
        };
    };
    let head = Head::read(stored.head)?;
    let new = content.without(&head.sources());
    if new.is_empty() {
        return Ok(Merged::Unchanged);
    }
    match stored.body.filter(|_| head.has_body()) {
        Some(body) => {
            let mut whole = head.open(body)?.content()?;
            whole.unite(new)?;
            Ok(Merged::Replaced(whole.seal()?))
        }
        None => {
            let late = new.seal()?;
            let overlaid = head.overlaid_with(&Head::read(&late.head)?);
            Ok(Merged::Beside { head: overlaid.to_bytes()?, late })
        }
    }
}
