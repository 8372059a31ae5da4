//! Objects under keys.

use std::sync::Arc;

use archive_parquet::ParquetArchive;
use bytes::Bytes;
use plant_model::TenantId;
use tempfile::TempDir;
use tiering::{Archive, ArchiveError, ArchiveFuture, NewKey, ObjectKey, ObjectKeys, ObjectRow};

use crate::support::{DAY, Memory, PATH, at, bits, file, folder, of_day, query, row, tenant, write};

/// One key for all objects, which is what keys should not be: what holds here is the object's own doing.
struct OneKey(u8);

impl ObjectKeys for OneKey {
    fn create<'a>(&'a self, _: &'a TenantId, path: &'a str) -> ArchiveFuture<'a, NewKey> {
        let metadata = Bytes::from(format!("key of {path}"));
        Box::pin(async move { Ok(NewKey { key: ObjectKey::new([self.0; 32]), metadata }) })
    }

    fn find<'a>(&'a self, _: &'a TenantId, path: &'a str, metadata: Bytes) -> ArchiveFuture<'a, ObjectKey> {
        Box::pin(async move {
            assert!(metadata.starts_with(b"key of "), "{metadata:?} of {path}");
            Ok(ObjectKey::new([self.0; 32]))
        })
    }
}

fn under(folder: &TempDir, key: u8) -> ParquetArchive {
    let archive = ParquetArchive::open(&format!("file://{}", folder.path().display()), []).expect("opens");
    archive.with_keys(Arc::new(OneKey(key)))
}

#[tokio::test]
async fn an_encrypted_object_is_read_with_its_key_and_shows_no_name() {
    let (folder, _) = folder();
    let archive = under(&folder, 7);
    let memory = [Memory::of_chance(0, 1, 6, 300), Memory::of_chance(1, 2, 2, 300)];
    let written = write(&archive, &memory).await.expect("writes");
    assert_eq!(archive.verify(&tenant(), &row(&written)).await.expect("verifies").object, written);
    let read = archive.read(&tenant(), &row(&written), query(0, &[4], at(0)..at(DAY))).await.expect("reads");
    assert_eq!(bits(&read.tags[0].1), bits(&of_day(&memory[0], 4)));
    let machine = archive.machine(&tenant(), &row(&written), &memory[1].machine).await.expect("reads");
    assert_eq!(machine.expect("there").tags(), memory[1].tags);
    let bytes = std::fs::read(file(&folder)).expect("there");
    assert!(bytes.starts_with(b"PARE"));
    for name in ["press-0", "tag-", "value_", "sequence"] {
        assert!(!bytes.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
    }
}

#[tokio::test]
async fn without_its_key_or_in_another_place_an_object_stays_closed() {
    let (folder, plain) = folder();
    let archive = under(&folder, 7);
    let written = write(&archive, &[Memory::of_chance(0, 1, 3, 100)]).await.expect("writes");
    let there = row(&written);
    let moved = ObjectRow { path: PATH.replace("01.parquet", "02.parquet"), ..there.clone() };
    std::fs::copy(file(&folder), folder.path().join("acme").join(&moved.path)).expect("copies");
    let other = under(&folder, 8);
    for (what, archive, row) in
        [("no keys", &plain, &there), ("another key", &other, &there), ("another path", &archive, &moved)]
    {
        let verified = archive.verify(&tenant(), row).await;
        assert!(matches!(verified, Err(ArchiveError::Key { .. })), "{what}: {verified:?}");
        let read = archive.read(&tenant(), row, query(0, &[1], at(0)..at(DAY))).await;
        assert!(matches!(read, Err(ArchiveError::Key { .. })), "{what}: {read:?}");
    }
}

#[tokio::test]
async fn what_was_written_before_there_were_keys_stays_readable() {
    let (folder, plain) = folder();
    let written = write(&plain, &[Memory::of_chance(0, 1, 3, 100)]).await.expect("writes");
    let verified = under(&folder, 7).verify(&tenant(), &row(&written)).await.expect("verifies");
    assert_eq!(verified.object, written);
}
