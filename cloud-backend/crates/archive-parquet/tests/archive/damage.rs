//! Bytes that nobody meant: an error, or hashes that differ, and never a panic.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tiering::{Archive, ArchiveError, ObjectRow};

use crate::support::{DAY, Memory, at, file, folder, query, row, tenant, write};

const ROUNDS: usize = 150;

fn mutate(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    let places = bytes.len();
    for _ in 0..[1, 1, 2, 5][rng.random_range(0..4)] {
        // Half of the changes are made where indexes and footer are.
        let at =
            if rng.random() { rng.random_range(0..places) } else { rng.random_range(places * 3 / 4..places) };
        let at = at.min(bytes.len().saturating_sub(1));
        match rng.random_range(0..6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, [0xFF, 0xFF, 0xFF, 0xFF, 0x0F])),
            2 | 3 => bytes[at] ^= 1 << rng.random_range(0..8),
            4 => bytes[at] = [0, 0x7F, 0x80, 0xFF][rng.random_range(0..4)],
            _ => drop(bytes.drain(at..(at + 20).min(bytes.len()))),
        }
        if bytes.is_empty() {
            return;
        }
    }
}

/// An error of the port that says that bytes are damaged. A library that panics at them is stopped at the thread it runs on.
fn is_told(error: &ArchiveError) -> bool {
    matches!(
        error,
        ArchiveError::Damaged { .. } | ArchiveError::Unavailable { .. } | ArchiveError::Budget { .. }
    )
}

#[tokio::test]
async fn st4_every_change_of_an_object_is_noticed() {
    let (folder, archive) = folder();
    let written = write(&archive, &[Memory::of_chance(0, 1, 6, 60), Memory::of_chance(1, 2, 2, 60)]).await;
    let written = written.expect("writes");
    let (file, row) = (file(&folder), row(&written));
    let sound = std::fs::read(&file).expect("there");
    let mut rng = StdRng::seed_from_u64(1);
    for round in 0..ROUNDS {
        let mut bytes = sound.clone();
        mutate(&mut bytes, &mut rng);
        if bytes == sound {
            continue;
        }
        std::fs::write(&file, &bytes).expect("writes");
        match archive.verify(&tenant(), &row).await {
            Ok(verified) => assert_ne!(verified.object, written, "round {round}"),
            Err(error) => assert!(is_told(&error), "round {round}: {error}"),
        }
        let read = archive.read(&tenant(), &row, query(0, &[1, 4, 7, 10, 13, 16], at(0)..at(DAY))).await;
        assert!(read.as_ref().err().is_none_or(is_told), "round {round}: {read:?}");
    }
    std::fs::write(&file, &sound).expect("writes");
    assert_eq!(archive.verify(&tenant(), &row).await.expect("verifies").object, written);
}

#[tokio::test]
async fn a_directory_that_is_none_is_an_error() {
    let (_folder, archive) = folder();
    let written = write(&archive, &[Memory::of_chance(0, 1, 6, 60)]).await.expect("writes");
    let mut rng = StdRng::seed_from_u64(2);
    for round in 0..ROUNDS {
        let mut directory = written.directory.to_vec();
        if round == 0 {
            directory.clear()
        } else {
            mutate(&mut directory, &mut rng)
        }
        let row = ObjectRow { directory: directory.into(), ..row(&written) };
        let read = archive.read(&tenant(), &row, query(0, &[1, 4], at(0)..at(DAY))).await;
        assert!(read.as_ref().err().is_none_or(is_told), "round {round}: {read:?}");
        let contents = archive.contents(&tenant(), &row).await;
        assert!(contents.as_ref().err().is_none_or(is_told), "round {round}: {contents:?}");
    }
}

#[tokio::test]
async fn what_is_no_object_of_ours_is_an_error() {
    let (folder, archive) = folder();
    let written = write(&archive, &[Memory::of_chance(0, 1, 1, 10)]).await.expect("writes");
    for other in [Vec::new(), b"PAR1".to_vec(), b"PAR1PAR1".to_vec(), vec![0; 100_000], vec![b'P'; 3_000_000]]
    {
        std::fs::write(file(&folder), &other).expect("writes");
        let damaged = archive.verify(&tenant(), &row(&written)).await;
        assert!(matches!(damaged, Err(ArchiveError::Damaged { .. })), "{} bytes: {damaged:?}", other.len());
    }
}
