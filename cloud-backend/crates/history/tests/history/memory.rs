//! Tiers in memory, to be read. Whoever fills them writes their fields.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use plant_model::{GatewayId, MachineId, TenantId, Timestamp};
use protocol::{BatchHeader, Epoch, Sequence, SeriesId};
use segments::{Minute, SealedSegment, Sourced, TagNumber, WaitingBatch};
use tiering::{
    Archive, ArchiveError, ArchiveFuture, Contents, DayUsage, Dropped, Hour, HourRow, MachineSource,
    ObjectId, ObjectQuery, ObjectRow, ObjectSamples, ObjectState, ObjectWriter, Parts, PortFuture, ReadCost,
    Revision, SealSet, SealingStream, SegmentKey, SegmentRow, StoreError, StoredObject, TagRecord, TierStore,
    UnsealedBatch, Written,
};

/// Of each tag of a machine its samples.
pub(crate) type Held = BTreeMap<(MachineId, TagNumber), (TagRecord, Vec<Sourced>)>;

/// One gateway of one tenant.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) tags: Vec<TagRecord>,
    pub(crate) series: BTreeMap<Epoch, BTreeMap<SeriesId, (MachineId, TagNumber)>>,
    pub(crate) batches: BTreeMap<(Epoch, Sequence), (BatchHeader, Bytes)>,
    pub(crate) rows: BTreeMap<SegmentKey, SegmentRow>,
    pub(crate) hours: BTreeMap<(MachineId, Hour), Bytes>,
    pub(crate) due: Vec<(MachineId, Hour)>,
    pub(crate) objects: Vec<(ObjectRow, Held)>,
    /// Calls that read segments with their bodies.
    pub(crate) body_calls: AtomicU64,
}

fn only_read<'a, T>() -> PortFuture<'a, T> {
    Box::pin(async { Err(StoreError::Unavailable("these tiers can only be read".into())) })
}

fn no_writing<'a, T>() -> ArchiveFuture<'a, T> {
    Box::pin(async { Err(ArchiveError::Misuse("this archive can only be read".into())) })
}

fn ready<'a, T: Send + 'a>(value: T) -> PortFuture<'a, T> {
    Box::pin(async move { Ok(value) })
}

impl TierStore for Memory {
    fn unsealed_batches<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a GatewayId,
        range: Range<Timestamp>,
        limit: usize,
    ) -> PortFuture<'a, Vec<UnsealedBatch>> {
        let found = self
            .batches
            .iter()
            .filter(|(_, (header, _))| header.first_at < range.end && header.last_at >= range.start);
        let found = found.map(|((epoch, sequence), (_, body))| UnsealedBatch {
            epoch: *epoch,
            sequence: *sequence,
            body: body.clone(),
        });
        ready(found.take(limit).collect())
    }

    fn tags<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a GatewayId,
        machine: Option<&'a MachineId>,
    ) -> PortFuture<'a, Vec<TagRecord>> {
        ready(self.tags.iter().filter(|tag| machine.is_none_or(|m| tag.machine == *m)).cloned().collect())
    }

    fn series<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a GatewayId,
        epoch: Epoch,
    ) -> PortFuture<'a, BTreeMap<SeriesId, (MachineId, TagNumber)>> {
        ready(self.series.get(&epoch).cloned().unwrap_or_default())
    }

    fn segments<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a GatewayId,
        machine: &'a MachineId,
        minutes: Range<Minute>,
        parts: Parts,
        limit: usize,
    ) -> PortFuture<'a, Vec<SegmentRow>> {
        let found =
            self.rows.values().filter(|row| row.key.machine == *machine && minutes.contains(&row.key.minute));
        let mut found: Vec<SegmentRow> = found.take(limit).cloned().collect();
        match parts {
            Parts::Heads => found.iter_mut().for_each(|row| (row.body, row.late) = (None, None)),
            Parts::All => drop(self.body_calls.fetch_add(1, Ordering::Relaxed)),
        }
        ready(found)
    }

    fn due_hours<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a GatewayId,
        limit: usize,
    ) -> PortFuture<'a, Vec<(MachineId, Hour, Revision)>> {
        let due = self.due.iter().map(|(machine, hour)| (machine.clone(), *hour, Revision(1)));
        ready(due.take(limit).collect())
    }

    fn hours<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a GatewayId,
        machine: &'a MachineId,
        hours: Range<Hour>,
    ) -> PortFuture<'a, Vec<HourRow>> {
        let found = self.hours.iter().filter(|((m, hour), _)| m == machine && hours.contains(hour));
        let row = |((machine, hour), rollups): (&(MachineId, Hour), &Bytes)| HourRow {
            machine: machine.clone(),
            hour: *hour,
            rollups: rollups.clone(),
        };
        ready(found.map(row).collect())
    }

    fn objects<'a>(
        &'a self,
        _: &'a TenantId,
        _: Option<&'a GatewayId>,
        range: Range<Timestamp>,
    ) -> PortFuture<'a, Vec<ObjectRow>> {
        let found = self.objects.iter().map(|(row, _)| row);
        ready(found.filter(|row| row.start < range.end && row.end > range.start).cloned().collect())
    }

    fn revision<'a>(&'a self, _: &'a TenantId, _: &'a GatewayId) -> PortFuture<'a, Revision> {
        only_read()
    }

    fn sealing_streams<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a GatewayId,
    ) -> PortFuture<'a, Vec<SealingStream>> {
        only_read()
    }

    fn waiting_batches<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a GatewayId,
        _: Epoch,
        _: usize,
    ) -> PortFuture<'a, Vec<WaitingBatch>> {
        only_read()
    }

    fn batches_through<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a GatewayId,
        _: Epoch,
        _: Sequence,
    ) -> PortFuture<'a, Vec<UnsealedBatch>> {
        only_read()
    }

    fn segments_at<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a GatewayId,
        _: Vec<SegmentKey>,
    ) -> PortFuture<'a, Vec<SegmentRow>> {
        only_read()
    }

    fn sealed_latest<'a>(&'a self, _: &'a TenantId, _: &'a GatewayId) -> PortFuture<'a, Option<Vec<u8>>> {
        only_read()
    }

    fn seal<'a>(&'a self, _: &'a TenantId, _: SealSet) -> PortFuture<'a, Revision> {
        only_read()
    }

    fn save_hours<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a GatewayId,
        _: Vec<(HourRow, Revision)>,
    ) -> PortFuture<'a, ()> {
        only_read()
    }

    fn begin_object<'a>(&'a self, _: &'a TenantId, _: ObjectRow) -> PortFuture<'a, ObjectId> {
        only_read()
    }

    fn commit_object<'a>(
        &'a self,
        _: &'a TenantId,
        _: ObjectRow,
        _: Revision,
        _: Vec<ObjectId>,
    ) -> PortFuture<'a, u64> {
        only_read()
    }

    fn retire_objects<'a>(&'a self, _: &'a TenantId, _: Vec<ObjectId>, _: Timestamp) -> PortFuture<'a, u64> {
        only_read()
    }

    fn forget_object<'a>(&'a self, _: &'a TenantId, _: ObjectId) -> PortFuture<'a, ()> {
        only_read()
    }

    fn objects_in<'a>(&'a self, _: &'a TenantId, _: ObjectState) -> PortFuture<'a, Vec<ObjectRow>> {
        only_read()
    }

    fn drop_bodies<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a GatewayId,
        _: Range<Minute>,
        _: usize,
    ) -> PortFuture<'a, Dropped> {
        only_read()
    }

    fn restore_bodies<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a GatewayId,
        _: Revision,
        _: Vec<(SegmentKey, SealedSegment)>,
    ) -> PortFuture<'a, u64> {
        only_read()
    }

    fn drop_segments<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a GatewayId,
        _: Range<Minute>,
        _: usize,
    ) -> PortFuture<'a, Dropped> {
        only_read()
    }

    fn drop_hours<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a GatewayId,
        _: Range<Hour>,
        _: usize,
    ) -> PortFuture<'a, Dropped> {
        only_read()
    }

    fn usage<'a>(&'a self, _: &'a TenantId, _: &'a GatewayId) -> PortFuture<'a, Vec<DayUsage>> {
        only_read()
    }
}

impl Archive for Memory {
    fn read<'a>(
        &'a self,
        _: &'a TenantId,
        object: &'a ObjectRow,
        query: ObjectQuery,
    ) -> ArchiveFuture<'a, ObjectSamples> {
        let path = object.path.clone();
        if query.budget.requests == 0 {
            let error = ArchiveError::Budget { path, what: "requests", needed: 1, allowed: 0 };
            return Box::pin(async { Err(error) });
        }
        let held = self.objects.iter().find(|(row, _)| row.id == object.id).map(|(_, held)| held);
        let of_tag = |number: &TagNumber| {
            let (tag, all) = held?.get(&(query.machine.clone(), *number))?;
            let inside = all.iter().filter(|one| query.range.contains(&one.sample.timestamp()));
            Some((tag.clone(), inside.cloned().collect::<Vec<_>>()))
        };
        let tags = query.tags.iter().filter_map(of_tag).collect();
        Box::pin(async { Ok(ObjectSamples { tags, cost: ReadCost { requests: 1, bytes: 1_000 } }) })
    }

    fn create<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a str,
        _: Range<Timestamp>,
    ) -> ArchiveFuture<'a, Box<dyn ObjectWriter>> {
        no_writing()
    }

    fn verify<'a>(&'a self, _: &'a TenantId, _: &'a ObjectRow) -> ArchiveFuture<'a, Written> {
        no_writing()
    }

    fn machine<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a ObjectRow,
        _: &'a MachineId,
    ) -> ArchiveFuture<'a, Option<Box<dyn MachineSource>>> {
        no_writing()
    }

    fn contents<'a>(&'a self, _: &'a TenantId, _: &'a ObjectRow) -> ArchiveFuture<'a, Contents> {
        no_writing()
    }

    fn delete<'a>(&'a self, _: &'a TenantId, _: &'a str) -> ArchiveFuture<'a, ()> {
        no_writing()
    }

    fn list<'a>(&'a self, _: &'a TenantId) -> ArchiveFuture<'a, Vec<StoredObject>> {
        no_writing()
    }
}
