//! Where a page of a list ends.

use std::fmt;
use std::str::FromStr;

use plant_model::Timestamp;
use thiserror::Error;

/// The place of a row in a list that is ordered by time, newest first; rows of one time are ordered by
/// their number in the store. Its text form is opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// The time of the row.
    pub at: Timestamp,
    /// Its number in the store.
    pub id: i64,
}

/// A text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this is no cursor; pass on the one that came with the page before, or none")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at.micros(), self.id)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (at, id) = text.split_once('.').ok_or(CursorError)?;
        let at = Timestamp::from_micros(at.parse().map_err(|_| CursorError)?);
        Ok(Self { at, id: id.parse().map_err(|_| CursorError)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_from_its_text_and_other_texts_are_refused() {
        for (at, id) in [(0, 0), (-5, 7), (i64::MAX, i64::MAX)] {
            let cursor = Cursor { at: Timestamp::from_micros(at), id };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for bad in ["", ".", "1", "1.", ".1", "a.1", "1.1.1", "99999999999999999999.1"] {
            assert_eq!(bad.parse::<Cursor>(), Err(CursorError), "{bad}");
        }
    }
}
