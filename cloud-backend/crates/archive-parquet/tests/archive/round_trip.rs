//! What is written is what is read.

use std::ops::Range;

use plant_model::{Quality, Sample, Timestamp, Value};
use proptest::prelude::*;
use protocol::{Detail, Epoch, Sequence};
use segments::{Source, Sourced, TagNumber};
use tiering::{Archive, ArchiveError, MachineSource, ReadBudget, TagReader, Union, contents_of_minutes};

use crate::support::{DAY, Memory, PATH, at, bits, file, folder, machine, of_day, query, row, tenant, write};

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn st4_whatever_is_written_is_read_to_the_last_bit(
        seed in any::<u64>(), machines in 1_usize..4, tags in 1_u32..9, samples in 1_usize..400,
    ) {
        block(async {
            let (_folder, archive) = folder();
            let all: Vec<Memory> =
                (0..machines).map(|n| Memory::of_chance(n, seed ^ n as u64, tags, samples)).collect();
            let written = write(&archive, &all).await.expect("writes");
            let verified = archive.verify(&tenant(), &row(&written)).await.expect("verifies");
            prop_assert_eq!(&verified.object, &written);
            prop_assert_eq!(&archive.contents(&tenant(), &row(&written)).await.expect("opens"), &written.contents);
            for (number, memory) in all.iter().enumerate() {
                let wanted: Vec<u32> = memory.tags.iter().map(|tag| tag.number.0).collect();
                let query = query(number, &wanted, at(0)..at(DAY));
                let read = archive.read(&tenant(), &row(&written), query).await.expect("reads");
                let expected: Vec<_> = wanted.iter().map(|tag| bits(&of_day(memory, *tag))).filter(|s| !s.is_empty()).collect();
                let found: Vec<_> = read.tags.iter().map(|(_, samples)| bits(samples)).collect();
                prop_assert_eq!(found, expected);
            }
            Ok(())
        })?;
    }
}

#[test]
fn st4_a_machine_out_of_an_object_gives_its_minutes_and_can_be_written_again() {
    block(async {
        let (_folder, archive) = folder();
        let memory = Memory::of_chance(1, 5, 6, 300);
        let written =
            write(&archive, &[Memory::of_chance(0, 4, 2, 50), memory.clone()]).await.expect("writes");
        let out =
            archive.machine(&tenant(), &row(&written), &machine(1)).await.expect("reads").expect("there");
        assert_eq!(out.tags(), memory.tags);
        let minutes = segments::Minute::of(at(0))..segments::Minute::of(at(DAY));
        let (found, expected) =
            (contents_of_minutes(&*out, minutes.clone()), contents_of_minutes(&memory, minutes));
        let show = |contents: Result<Vec<segments::Content>, ArchiveError>| -> Vec<Vec<String>> {
            let contents = contents.expect("reads");
            let tags = |content: &segments::Content| -> Vec<String> {
                content.tags().flat_map(|(tag, _)| bits(&content.sourced(tag))).collect()
            };
            contents.iter().map(tags).collect()
        };
        assert_eq!(show(found), show(expected));

        // Written again with what came late, under another path.
        let late =
            Memory::new(machine(1)).tag(1, Memory::of_chance(1, 99, 1, 3).samples[&TagNumber(1)].clone());
        let union = Union::new(vec![out, Box::new(late)]).expect("one machine").expect("parts");
        let path = PATH.replace("01.parquet", "02.parquet");
        let tenant = tenant();
        let mut writer = archive.create(&tenant, &path, at(0)..at(DAY)).await.expect("begins");
        writer.add(Box::new(union)).await.expect("adds");
        let again = writer.finish().await.expect("ends").object;
        assert!(again.contents.samples() >= of_day(&memory, 1).len() as u64);
        let listed = archive.list(&tenant).await.expect("lists");
        assert_eq!(listed.iter().map(|o| o.path.as_str()).collect::<Vec<_>>(), [PATH, path.as_str()]);
        assert_eq!(listed[1].bytes, again.bytes);
        archive.delete(&tenant, PATH).await.expect("deletes");
        archive.delete(&tenant, PATH).await.expect("what is gone is deleted");
        let gone = archive.verify(&tenant, &row(&written)).await;
        assert!(matches!(gone, Err(ArchiveError::Missing { .. })), "{gone:?}");
    });
}

#[test]
fn a_tag_is_read_in_parts_of_time_and_alone() {
    block(async {
        let (_folder, archive) = folder();
        let memory = Memory::of_chance(0, 3, 4, 500);
        let written = write(&archive, std::slice::from_ref(&memory)).await.expect("writes");
        let (from, to) = (at(500_000_000), at(1_200_000_000));
        let read = archive.read(&tenant(), &row(&written), query(0, &[4], from..to)).await.expect("reads");
        let mut expected = of_day(&memory, 4);
        expected.retain(|one| (from..to).contains(&one.sample.timestamp()));
        assert!(!expected.is_empty());
        assert_eq!(bits(&read.tags[0].1), bits(&expected));
        assert_eq!(read.tags.len(), 1);
        for nothing in [query(0, &[5], from..to), query(9, &[4], from..to), query(0, &[4], at(-5)..at(-4))] {
            let read = archive.read(&tenant(), &row(&written), nothing).await.expect("reads");
            assert_eq!((read.tags.len(), read.cost.requests), (0, 0));
        }
    });
}

#[test]
fn st9_what_would_cost_too_much_is_not_begun() {
    block(async {
        let (_folder, archive) = folder();
        let written = write(&archive, &[Memory::of_chance(0, 3, 4, 500)]).await.expect("writes");
        for (what, requests, bytes, samples) in
            [("requests", 0, 1 << 20, 1000), ("bytes", 9, 100, 1000), ("samples", 9, 1 << 20, 10)]
        {
            let budget = ReadBudget { requests, bytes, samples };
            let query = tiering::ObjectQuery { budget, ..query(0, &[1], at(0)..at(DAY)) };
            let refused = archive.read(&tenant(), &row(&written), query).await;
            let Err(ArchiveError::Budget { what: told, needed, allowed, .. }) = refused else {
                panic!("{what}: {refused:?}");
            };
            assert_eq!(told, what);
            assert!(needed > allowed);
        }
    });
}

#[test]
fn an_object_is_never_written_over_and_an_unfinished_one_is_not_there() {
    block(async {
        let (folder, archive) = folder();
        let memory = [Memory::of_chance(0, 3, 1, 20)];
        let tenant = tenant();
        let mut writer = archive.create(&tenant, PATH, at(0)..at(DAY)).await.expect("begins");
        writer.add(Box::new(memory[0].clone())).await.expect("adds");
        drop(writer);
        assert_eq!(archive.list(&tenant).await.expect("lists"), []);
        write(&archive, &memory).await.expect("writes");
        let before = std::fs::read(file(&folder)).expect("there");
        let again = write(&archive, &[Memory::of_chance(0, 4, 1, 20)]).await;
        assert!(matches!(again, Err(ArchiveError::Exists { .. })), "{again:?}");
        assert_eq!(std::fs::read(file(&folder)).expect("there"), before);
    });
}

#[test]
fn machines_out_of_order_and_parts_of_days_are_refused() {
    block(async {
        let (_folder, archive) = folder();
        let (a, b) = (Memory::of_chance(0, 3, 1, 20), Memory::of_chance(1, 3, 1, 20));
        let twice = write(&archive, &[b, a]).await;
        assert!(matches!(twice, Err(ArchiveError::Misuse(_))), "{twice:?}");
        for days in [at(0)..at(0), at(1)..at(DAY + 1), at(0)..at(400 * DAY)] {
            let refused = archive.create(&tenant(), PATH, days).await.err();
            assert!(matches!(refused, Some(ArchiveError::Misuse(_))), "{refused:?}");
        }
    });
}

/// A machine at 1 Hz whose samples are made when they are asked for.
struct Ramp(Memory);

impl Ramp {
    fn new(tags: u32) -> Self {
        Self((0..tags).fold(Memory::new(machine(0)), |memory, tag| memory.tag(tag, Vec::new())))
    }
}

impl MachineSource for Ramp {
    fn machine(&self) -> &plant_model::MachineId {
        &self.0.machine
    }

    fn tags(&self) -> &[tiering::TagRecord] {
        &self.0.tags
    }

    fn open(&self) -> Result<Box<dyn TagReader + '_>, ArchiveError> {
        Ok(Box::new(self))
    }
}

impl TagReader for &Ramp {
    fn samples(&mut self, tag: TagNumber, range: &Range<Timestamp>) -> Result<Vec<Sourced>, ArchiveError> {
        let second = |index: i64| Sourced {
            sample: Sample {
                value: Some(Value::Int(i64::from(tag.0) * 1_000_000 + index)),
                quality: Quality::GOOD,
                source_timestamp: None,
                gateway_timestamp: at(index * 1_000_000 + index * 7_919 % 4_001),
            },
            source: Source {
                epoch: Epoch::from_u64(1),
                sequence: Sequence::from_u64(index.unsigned_abs() / 5 + 1),
            },
            detail: Detail::Full,
        };
        Ok((0..86_400).map(second).filter(|one| range.contains(&one.sample.timestamp())).collect())
    }
}

/// Longer than two million rows, which is what a row group has; some seconds in a build that is not optimised.
#[test]
fn st6_a_machine_larger_than_a_row_group_takes_several_and_a_tag_across_two_is_whole() {
    block(async {
        let (_folder, archive) = folder();
        let tenant = tenant();
        let ramp = Ramp::new(26);
        let mut writer = archive.create(&tenant, PATH, at(0)..at(DAY)).await.expect("begins");
        writer.add(Box::new(Ramp::new(26))).await.expect("adds");
        let written = writer.finish().await.expect("ends").object;
        assert_eq!(written.contents.samples(), 26 * 86_400);
        assert_eq!(archive.verify(&tenant, &row(&written)).await.expect("verifies").object, written);
        // 24 tags and 23,552 rows fill the first.
        for tag in [0, 23, 24, 25] {
            let read = archive.read(&tenant, &row(&written), query(0, &[tag], at(0)..at(DAY))).await;
            let read = read.expect("reads");
            let expected = (&ramp).samples(TagNumber(tag), &(at(0)..at(DAY))).expect("made");
            assert_eq!(read.tags[0].1, expected);
            assert!(read.cost.requests <= 4, "{:?}", read.cost);
        }
        // Instants and batches repeat from tag to tag: together they cost less than a fifth of a byte.
        let bytes = written.bytes as f64 / written.contents.samples() as f64;
        assert!(bytes < 0.35, "{bytes} bytes a sample");
    });
}
