//! An archive in memory, and ports that die at a given call.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bytes::Bytes;
use plant_model::{GatewayId, MachineId, TenantId, Timestamp};
use protocol::{Epoch, Sequence, SeriesId};
use segments::{Minute, SealedSegment, Sourced, TagNumber, WaitingBatch};
use tiering::*;

/// What an object holds: machine by machine, tag by tag.
type Held = BTreeMap<MachineId, Vec<(TagRecord, Vec<Sourced>)>>;

/// The objects of all tenants.
#[derive(Default, Clone)]
pub(crate) struct Shelf(Arc<Mutex<BTreeMap<String, Held>>>);

impl Shelf {
    fn get(&self, path: &str) -> Result<Held, ArchiveError> {
        let missing = || ArchiveError::Missing { path: path.to_owned() };
        self.0.lock().expect("not poisoned").get(path).cloned().ok_or_else(missing)
    }

    /// Changes one value of an object, as a bad disk would.
    pub(crate) fn damage(&self, path: &str) {
        let mut objects = self.0.lock().expect("not poisoned");
        let held = objects.get_mut(path).expect("it is there");
        let tags = held.values_mut().next().expect("a machine");
        tags[0].1[0].sample.value = None;
    }

    /// Everything of a machine and tag in an object.
    pub(crate) fn samples(&self, path: &str, machine: &MachineId, tag: TagNumber) -> Vec<Sourced> {
        let held = self.get(path).expect("it is there");
        let tags = held.get(machine).map(Vec::as_slice).unwrap_or_default();
        tags.iter().find(|(record, _)| record.number == tag).map(|(_, all)| all.clone()).unwrap_or_default()
    }
}

fn facts(held: &Held) -> Written {
    let tag = |(tag, all): &(TagRecord, Vec<Sourced>)| {
        let digest = TagDigest::of(all)?;
        Some(TagContents { tag: tag.clone(), digest })
    };
    let machine = |(machine, tags): (&MachineId, &Vec<_>)| MachineContents {
        machine: machine.clone(),
        tags: tags.iter().filter_map(tag).collect(),
    };
    let contents = Contents { machines: held.iter().map(machine).collect() };
    let digests = contents.machines.iter().flat_map(|m| &m.tags).map(|tag| tag.digest.sha256);
    let sha256 =
        digests.fold([0; 32], |sum: [u8; 32], one| std::array::from_fn(|i| sum[i].wrapping_mul(3) ^ one[i]));
    let bytes = contents.samples() * 2;
    let object = ObjectFacts { contents, bytes, sha256, directory: Bytes::from_static(b"directory") };
    Written { object, cost: ReadCost::default() }
}

impl Archive for Shelf {
    fn create<'a>(
        &'a self,
        _: &'a TenantId,
        path: &'a str,
        days: Range<Timestamp>,
    ) -> ArchiveFuture<'a, Box<dyn ObjectWriter>> {
        let writer = Pen { shelf: self.clone(), path: path.to_owned(), days, held: Held::new() };
        Box::pin(async { Ok(Box::new(writer) as Box<dyn ObjectWriter>) })
    }

    fn verify<'a>(&'a self, _: &'a TenantId, object: &'a ObjectRow) -> ArchiveFuture<'a, Written> {
        Box::pin(async { Ok(facts(&self.get(&object.path)?)) })
    }

    fn read<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a ObjectRow,
        _: ObjectQuery,
    ) -> ArchiveFuture<'a, ObjectSamples> {
        Box::pin(async { Err(ArchiveError::Misuse("moves read whole machines".to_owned())) })
    }

    fn machine<'a>(
        &'a self,
        _: &'a TenantId,
        object: &'a ObjectRow,
        machine: &'a MachineId,
    ) -> ArchiveFuture<'a, Option<Box<dyn MachineSource>>> {
        Box::pin(async move {
            let held = self.get(&object.path)?;
            let of_machine = held.get(machine).cloned();
            Ok(of_machine.map(|tags| {
                let records = tags.iter().map(|(tag, _)| tag.clone()).collect();
                Box::new(Pages { machine: machine.clone(), records, tags }) as Box<dyn MachineSource>
            }))
        })
    }

    fn contents<'a>(&'a self, _: &'a TenantId, object: &'a ObjectRow) -> ArchiveFuture<'a, Contents> {
        Box::pin(async { Ok(facts(&self.get(&object.path)?).object.contents) })
    }

    fn delete<'a>(&'a self, _: &'a TenantId, path: &'a str) -> ArchiveFuture<'a, ()> {
        self.0.lock().expect("not poisoned").remove(path);
        Box::pin(async { Ok(()) })
    }

    fn list<'a>(&'a self, _: &'a TenantId) -> ArchiveFuture<'a, Vec<StoredObject>> {
        let objects = self.0.lock().expect("not poisoned");
        let stored = |path: &String| StoredObject {
            path: path.clone(),
            bytes: 0,
            modified_at: SystemTime::UNIX_EPOCH,
        };
        let all = objects.keys().map(stored).collect();
        Box::pin(async { Ok(all) })
    }
}

struct Pen {
    shelf: Shelf,
    path: String,
    days: Range<Timestamp>,
    held: Held,
}

impl ObjectWriter for Pen {
    fn add<'a>(&'a mut self, machine: Box<dyn MachineSource>) -> ArchiveFuture<'a, ()> {
        let read = || {
            let mut reader = machine.open()?;
            let tags =
                machine.tags().iter().map(|tag| Ok((tag.clone(), reader.samples(tag.number, &self.days)?)));
            tags.collect::<Result<Vec<_>, ArchiveError>>()
        };
        let added = read().map(|tags| drop(self.held.insert(machine.machine().clone(), tags)));
        Box::pin(async { added })
    }

    fn finish(self: Box<Self>) -> ArchiveFuture<'static, Written> {
        let written = facts(&self.held);
        let replaced = self.shelf.0.lock().expect("not poisoned").insert(self.path.clone(), self.held);
        assert!(replaced.is_none(), "{} is written over", self.path);
        Box::pin(async { Ok(written) })
    }
}

struct Pages {
    machine: MachineId,
    records: Vec<TagRecord>,
    tags: Vec<(TagRecord, Vec<Sourced>)>,
}

impl MachineSource for Pages {
    fn machine(&self) -> &MachineId {
        &self.machine
    }

    fn tags(&self) -> &[TagRecord] {
        &self.records
    }

    fn open(&self) -> Result<Box<dyn TagReader + '_>, ArchiveError> {
        Ok(Box::new(OpenPages(&self.tags)))
    }
}

struct OpenPages<'a>(&'a [(TagRecord, Vec<Sourced>)]);

impl TagReader for OpenPages<'_> {
    fn samples(&mut self, tag: TagNumber, range: &Range<Timestamp>) -> Result<Vec<Sourced>, ArchiveError> {
        let all = self.0.iter().filter(|(record, _)| record.number == tag).flat_map(|(_, all)| all);
        Ok(all.filter(|one| range.contains(&one.sample.timestamp())).cloned().collect())
    }
}

/// A process that is killed before it makes its n-th call: from then on it makes none.
pub(crate) struct Mortal<'s, S> {
    store: &'s S,
    shelf: &'s Shelf,
    left: AtomicI64,
}

impl<'s, S> Mortal<'s, S> {
    pub(crate) fn new(store: &'s S, shelf: &'s Shelf, calls: i64) -> Self {
        Self { store, shelf, left: AtomicI64::new(calls) }
    }

    /// Whether it is dead at its next call.
    fn is_dead(&self) -> bool {
        self.left.fetch_sub(1, Ordering::Relaxed) <= 0
    }

    pub(crate) fn was_killed(&self) -> bool {
        self.left.load(Ordering::Relaxed) < 0
    }
}

fn killed<'a, T: Send + 'a>() -> PortFuture<'a, T> {
    Box::pin(async { Err(StoreError::Unavailable("killed".into())) })
}

fn cut<'a, T: Send + 'a>() -> ArchiveFuture<'a, T> {
    Box::pin(async { Err(ArchiveError::Misuse("killed".to_owned())) })
}

macro_rules! mortal {
    ($port:ident, $place:ident, $answer:ident, $dead:ident; $(fn $name:ident($($argument:ident: $kind:ty),*) -> $out:ty;)*) => {
        impl<S: TierStore + PolicyStore> $port for Mortal<'_, S> {
            $(fn $name<'a>(&'a self, $($argument: $kind),*) -> $answer<'a, $out> {
                if self.is_dead() { $dead() } else { $port::$name(self.$place, $($argument),*) }
            })*
        }
    };
}

mortal! { TierStore, store, PortFuture, killed;
    fn revision(t: &'a TenantId, g: &'a GatewayId) -> Revision;
    fn sealing_streams(t: &'a TenantId, g: &'a GatewayId) -> Vec<SealingStream>;
    fn waiting_batches(t: &'a TenantId, g: &'a GatewayId, e: Epoch, l: usize) -> Vec<WaitingBatch>;
    fn batches_through(t: &'a TenantId, g: &'a GatewayId, e: Epoch, s: Sequence) -> Vec<UnsealedBatch>;
    fn unsealed_batches(t: &'a TenantId, g: &'a GatewayId, r: Range<Timestamp>, l: usize) -> Vec<UnsealedBatch>;
    fn tags(t: &'a TenantId, g: &'a GatewayId, m: Option<&'a MachineId>) -> Vec<TagRecord>;
    fn series(t: &'a TenantId, g: &'a GatewayId, e: Epoch) -> BTreeMap<SeriesId, (MachineId, TagNumber)>;
    fn segments_at(t: &'a TenantId, g: &'a GatewayId, k: Vec<SegmentKey>) -> Vec<SegmentRow>;
    fn segments(t: &'a TenantId, g: &'a GatewayId, m: &'a MachineId, r: Range<Minute>, p: Parts, l: usize)
        -> Vec<SegmentRow>;
    fn sealed_latest(t: &'a TenantId, g: &'a GatewayId) -> Option<Vec<u8>>;
    fn seal(t: &'a TenantId, s: SealSet) -> Revision;
    fn due_hours(t: &'a TenantId, g: &'a GatewayId, l: usize) -> Vec<(MachineId, Hour, Revision)>;
    fn save_hours(t: &'a TenantId, g: &'a GatewayId, h: Vec<(HourRow, Revision)>) -> ();
    fn hours(t: &'a TenantId, g: &'a GatewayId, m: &'a MachineId, h: Range<Hour>) -> Vec<HourRow>;
    fn objects(t: &'a TenantId, g: Option<&'a GatewayId>, r: Range<Timestamp>) -> Vec<ObjectRow>;
    fn begin_object(t: &'a TenantId, o: ObjectRow) -> ObjectId;
    fn commit_object(t: &'a TenantId, o: ObjectRow, r: Revision, s: Vec<ObjectId>) -> u64;
    fn retire_objects(t: &'a TenantId, o: Vec<ObjectId>, n: Timestamp) -> u64;
    fn forget_object(t: &'a TenantId, o: ObjectId) -> ();
    fn objects_in(t: &'a TenantId, s: ObjectState) -> Vec<ObjectRow>;
    fn drop_bodies(t: &'a TenantId, g: &'a GatewayId, r: Range<Minute>, l: usize) -> Dropped;
    fn restore_bodies(t: &'a TenantId, g: &'a GatewayId, r: Revision, s: Vec<(SegmentKey, SealedSegment)>) -> u64;
    fn drop_segments(t: &'a TenantId, g: &'a GatewayId, r: Range<Minute>, l: usize) -> Dropped;
    fn drop_hours(t: &'a TenantId, g: &'a GatewayId, r: Range<Hour>, l: usize) -> Dropped;
    fn usage(t: &'a TenantId, g: &'a GatewayId) -> Vec<DayUsage>;
}

mortal! { PolicyStore, store, PortFuture, killed;
    fn policies(t: &'a TenantId, l: u32) -> Vec<SavedPolicy>;
    fn save_policy(t: &'a TenantId, r: u32, p: Policy, s: HoldAct) -> Result<u32, PolicyConflict>;
    fn holds(t: &'a TenantId) -> Vec<Hold>;
    fn place_hold(t: &'a TenantId, s: HoldScope, p: HoldAct) -> HoldId;
    fn release_hold(t: &'a TenantId, h: HoldId, r: HoldAct) -> bool;
    fn take_turn(t: &'a TenantId, h: &'a str, n: Timestamp, u: Timestamp) -> bool;
    fn end_turn(t: &'a TenantId, h: &'a str, n: Timestamp, o: &'a str) -> ();
    fn turn(t: &'a TenantId) -> Option<RunRecord>;
    fn journal_usage(t: &'a TenantId, g: &'a GatewayId, b: Timestamp) -> Vec<(Timestamp, Dropped)>;
    fn drop_journal(t: &'a TenantId, g: &'a GatewayId, r: Range<Timestamp>) -> Dropped;
}

mortal! { Archive, shelf, ArchiveFuture, cut;
    fn create(t: &'a TenantId, p: &'a str, d: Range<Timestamp>) -> Box<dyn ObjectWriter>;
    fn verify(t: &'a TenantId, o: &'a ObjectRow) -> Written;
    fn read(t: &'a TenantId, o: &'a ObjectRow, q: ObjectQuery) -> ObjectSamples;
    fn machine(t: &'a TenantId, o: &'a ObjectRow, m: &'a MachineId) -> Option<Box<dyn MachineSource>>;
    fn contents(t: &'a TenantId, o: &'a ObjectRow) -> Contents;
    fn delete(t: &'a TenantId, p: &'a str) -> ();
    fn list(t: &'a TenantId) -> Vec<StoredObject>;
}
