//! Whether SQLite read the write-ahead log to its end. A frame that rotted ends the log in silence, and the commits
//! behind it are gone, although they may have been sent.
//!
//! The log (SQLite file format, section 4) has a header of 32 bytes with two salts, then frames: 24 bytes of header
//! and a page. A frame of the present round repeats the salts; the last of a commit says how large the database is
//! then. A power cut can tear the one commit that was being written. So two commits behind what SQLite read are the
//! sign of damage, and one is not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;

/// Commits that a power cut may leave behind the end.
const TORN_MAX: usize = 1;

/// At which frames of the present round, counted from 1, commits end.
pub(crate) fn commits(log: &Path) -> io::Result<Vec<u64>> {
    let file = File::open(log)?;
    let mut header = [0; HEADER_BYTES as usize];
    file.read_exact_at(&mut header, 0)?;
    let page_bytes = u64::from(u32::from_be_bytes(part(&header, 8)));
    let salts: [u8; 8] = part(&header, 16);
    let size = file.metadata()?.len();
    let frame_bytes = FRAME_HEADER_BYTES + page_bytes;
    let mut found = Vec::new();
    for frame in 0..size.saturating_sub(HEADER_BYTES) / frame_bytes {
        let mut header = [0; FRAME_HEADER_BYTES as usize];
        file.read_exact_at(&mut header, HEADER_BYTES + frame * frame_bytes)?;
        let ends_commit = u32::from_be_bytes(part(&header, 4)) != 0;
        if ends_commit && part::<8>(&header, 8) == salts {
            found.push(frame + 1);
        }
    }
    Ok(found)
}

/// Whether commits lie behind the last frame that SQLite read.
pub(crate) fn is_cut(commits: &[u64], frames_read: u64) -> bool {
    commits.iter().filter(|frame| **frame > frames_read).count() > TORN_MAX
}

fn part<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[offset + i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_torn_commit_is_a_power_cut_and_two_are_damage() {
        assert!(!is_cut(&[3, 6, 9], 9));
        assert!(!is_cut(&[3, 6, 9], 6));
        assert!(is_cut(&[3, 6, 9], 3));
    }
}
