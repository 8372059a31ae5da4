//! Brings samples back from objects, and compares the store with them.

use std::collections::BTreeMap;
use std::ops::Range;

use plant_model::{GatewayId, MachineId, Timestamp};
use segments::{Content, Head, Minute};

use super::{MoveError, Mover};
use crate::{
    Hour, MachineSource, ObjectRow, ObjectState, Parts, SegmentKey, SegmentsOfMachine, TagDigest, TagRecord,
    contents_of_minutes,
};

/// What a restore did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restored {
    /// Objects that were read and were what their entries say.
    pub objects: u64,
    /// Minutes of which samples are back.
    pub segments: u64,
    /// Samples in them.
    pub samples: u64,
    /// Minutes that were there already.
    pub present: u64,
    /// Minutes that the objects do not hold everything of: a class of tags is left out of the archive, or something came
    /// since. They are left as they are.
    pub incomplete: u64,
}

/// The outcome of a comparison of the store with objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compared {
    /// Tags of machines and days of which both hold everything, with the same digest.
    pub same: u64,
    /// Of which the digests differ.
    pub different: u64,
    /// Of which the store does not have all samples, or has some that are in no object yet.
    pub unknown: u64,
}

impl Mover<'_> {
    /// Puts samples of a range back into the store. They go again with the next run unless a hold covers them.
    ///
    /// # Errors
    /// An object is not what its entry says, or one of the ports fails. What was put back until then stays.
    pub async fn restore(
        &self,
        gateway: &GatewayId,
        range: &Range<Timestamp>,
        progress: &(dyn Fn(&Restored) + Send + Sync),
    ) -> Result<Restored, MoveError> {
        let mut restored = Restored::default();
        for object in self.verified(gateway, range).await? {
            self.verify(&object).await?;
            restored.objects += 1;
            let of_object = range.start.max(object.start)..range.end.min(object.end);
            for machine in self.machines(gateway).await?.into_keys() {
                let source = self.archive.machine(self.tenant, &object, &machine).await?;
                if let Some(source) = source {
                    self.restore_machine((gateway, &of_object), &*source, &mut restored, progress).await?;
                }
            }
        }
        Ok(restored)
    }

    async fn restore_machine(
        &self,
        (gateway, range): (&GatewayId, &Range<Timestamp>),
        source: &dyn MachineSource,
        restored: &mut Restored,
        progress: &(dyn Fn(&Restored) + Send + Sync),
    ) -> Result<(), MoveError> {
        let mut hour = Hour::of(range.start);
        while hour.start() < range.end {
            let minutes = hour.minutes();
            hour = Hour::of(minutes.end.start());
            let minutes = minutes.start.max(Minute::of(range.start))..minutes.end.min(Minute::of(range.end));
            let contents = contents_of_minutes(source, minutes.clone())?;
            if !contents.is_empty() {
                self.restore_minutes((gateway, source.machine()), minutes, contents, restored).await?;
                progress(restored);
            }
        }
        Ok(())
    }

    async fn restore_minutes(
        &self,
        (gateway, machine): (&GatewayId, &MachineId),
        minutes: Range<Minute>,
        contents: Vec<Content>,
        restored: &mut Restored,
    ) -> Result<(), MoveError> {
        let unreadable = |cause| MoveError::Segment { gateway: gateway.clone(), cause };
        let base = self.tiers.revision(self.tenant, gateway).await?;
        let limit = contents.len().max(60);
        let rows = self.tiers.segments(self.tenant, gateway, machine, minutes, Parts::Heads, limit).await?;
        let heads: BTreeMap<Minute, _> = rows.into_iter().map(|row| (row.key.minute, row)).collect();
        let mut back = Vec::new();
        for content in contents {
            let Some(row) = heads.get(&content.minute()) else {
                restored.incomplete += 1;
                continue;
            };
            let head = Head::read(&row.head).map_err(unreadable)?;
            if !row.is_archived || head.count() != content.count() || head.sources() != content.sources() {
                restored.incomplete += 1;
                continue;
            }
            let key = SegmentKey { machine: machine.clone(), minute: content.minute() };
            back.push((content.count() as u64, (key, content.seal().map_err(unreadable)?)));
        }
        let asked = back.len() as u64;
        let samples: u64 = back.iter().map(|(count, _)| count).sum();
        let segments = back.into_iter().map(|(_, segment)| segment).collect();
        let put = self.tiers.restore_bodies(self.tenant, gateway, base, segments).await?;
        restored.segments += put;
        restored.present += asked - put.min(asked);
        restored.samples += if put == asked { samples } else { 0 };
        Ok(())
    }

    /// Compares what the store and an object hold of the days of a range, tag by tag.
    ///
    /// # Errors
    /// One of the ports fails.
    pub async fn compare(&self, object: &ObjectRow, range: &Range<Timestamp>) -> Result<Compared, MoveError> {
        let range = range.start.max(object.start)..range.end.min(object.end);
        let mut compared = Compared::default();
        for (machine, tags) in self.machines(&object.gateway).await? {
            let Some(source) = self.archive.machine(self.tenant, object, &machine).await? else { continue };
            let rows = self.segments_of(&object.gateway, &machine, &range).await?;
            let is_whole = rows.iter().all(|row| row.is_archived && row.body.is_some());
            if !is_whole || rows.is_empty() {
                compared.unknown += source.tags().len() as u64;
                continue;
            }
            let segments = SegmentsOfMachine::new(machine, tags, rows)?;
            compare_tags(&*source, &segments, &range, &mut compared)?;
        }
        Ok(compared)
    }

    async fn verified(
        &self,
        gateway: &GatewayId,
        range: &Range<Timestamp>,
    ) -> Result<Vec<ObjectRow>, MoveError> {
        let mut objects = self.tiers.objects(self.tenant, Some(gateway), range.clone()).await?;
        objects.retain(|object| object.state == ObjectState::Verified);
        Ok(objects)
    }

    async fn machines(&self, gateway: &GatewayId) -> Result<BTreeMap<MachineId, Vec<TagRecord>>, MoveError> {
        let mut machines: BTreeMap<MachineId, Vec<TagRecord>> = BTreeMap::new();
        for tag in self.tiers.tags(self.tenant, gateway, None).await? {
            machines.entry(tag.machine.clone()).or_default().push(tag);
        }
        Ok(machines)
    }
}

/// Digest by digest; memory: one tag of the range, twice.
fn compare_tags(
    object: &dyn MachineSource,
    segments: &SegmentsOfMachine,
    range: &Range<Timestamp>,
    compared: &mut Compared,
) -> Result<(), MoveError> {
    let (mut of_object, mut of_segments) = (object.open()?, segments.open()?);
    for tag in object.tags() {
        let archived = TagDigest::of(&of_object.samples(tag.number, range)?);
        let stored = TagDigest::of(&of_segments.samples(tag.number, range)?);
        match (archived == stored, archived) {
            (true, None) => {}
            (true, Some(_)) => compared.same += 1,
            (false, _) => compared.different += 1,
        }
    }
    Ok(())
}
