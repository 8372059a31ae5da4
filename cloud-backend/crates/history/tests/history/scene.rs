//! A gateway whose samples lie in all tiers, and the flat list of them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use plant_model::{DataType, GatewayId, MachineId, Quality, Sample, TagId, TenantId, Timestamp, Value};
use protocol::{Batch, BatchBody, Epoch, Sequence, SeriesId, SeriesSamples, TagRole};
use segments::{
    Content, Gatherer, Head, Hold, Merged, Minute, Place, Rollup, Stored, TagKind, TagNumber, merge,
    rollups_to_bytes,
};
use tiering::{
    Hour, LateSegment, ObjectId, ObjectRow, ObjectState, Revision, SegmentKey, SegmentRow, TagRecord,
};

use crate::memory::Memory;

/// The start of a day, UTC.
pub(crate) const START: i64 = 20_000 * 86_400_000_000;
const DAY: i64 = 86_400_000_000;

/// One tag of each kind; their series are the epoch times 100 and the number of the tag.
pub(crate) const KINDS: [TagKind; 3] = TagKind::ALL;

pub(crate) fn tenant() -> TenantId {
    TenantId::new("acme").expect("valid")
}

pub(crate) fn gateway() -> GatewayId {
    GatewayId::new("gw").expect("valid")
}

/// Machine 0 is asked for, machine 1 is not.
pub(crate) fn machine(number: u32) -> MachineId {
    MachineId::new(&format!("machine-{number}")).expect("valid")
}

pub(crate) fn tag(number: usize) -> TagId {
    TagId::new(&format!("tag-{number}")).expect("valid")
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(START + seconds * 1_000_000)
}

pub(crate) fn value(kind: TagKind, number: i64) -> Value {
    match kind {
        TagKind::Analog => Value::Float(f64::from(i32::try_from(number).expect("small")) / 4.0),
        TagKind::Counter => Value::Int(number.rem_euclid(11)),
        TagKind::State => Value::Text(
            ["idle", "running", "jammed"][usize::try_from(number.rem_euclid(3)).expect("small")].into(),
        ),
    }
}

pub(crate) fn sample(kind: TagKind, at: Timestamp, number: i64) -> Sample {
    let quality = if number % 7 == 5 { Quality::BAD_TIMEOUT } else { Quality::GOOD };
    Sample { value: Some(value(kind, number)), quality, source_timestamp: None, gateway_timestamp: at }
}

/// A batch of samples of machine, tag, second and number.
pub(crate) fn batch(epoch: u64, sequence: u64, samples: &[(u32, usize, i64, i64)]) -> Batch {
    let mut series: BTreeMap<u32, Vec<Sample>> = BTreeMap::new();
    for (machine, tag, second, number) in samples {
        let key =
            u32::try_from(epoch).expect("small") * 100 + machine * 10 + u32::try_from(*tag).expect("small");
        series.entry(key).or_default().push(sample(KINDS[*tag], at(*second), *number));
    }
    let block =
        series.into_iter().map(|(series, samples)| SeriesSamples { series: SeriesId(series), samples });
    let body = BatchBody::Samples(block.collect());
    let bytes =
        Batch::encode(Epoch::from_u64(epoch), Sequence::from_u64(sequence), at(0), &body).expect("a batch");
    Batch::decode(&bytes).expect("own batch")
}

fn place(epoch: Epoch, series: SeriesId) -> Option<Place> {
    let number = series.0.checked_sub(u32::try_from(epoch.as_u64()).ok()? * 100)?;
    let (machine_number, tag) = (number / 10, number % 10);
    let kind = *KINDS.get(usize::try_from(tag).ok()?)?;
    Some(Place { machine: machine(machine_number), tag: TagNumber(tag), kind })
}

/// Empty tiers that know their tags.
pub(crate) fn tiers(epochs: u64) -> Memory {
    let mut memory = Memory::default();
    for number in 0..2 {
        memory.tags.extend(KINDS.iter().enumerate().map(|(index, kind)| TagRecord {
            machine: machine(number),
            number: TagNumber(u32::try_from(index).expect("small")),
            tag: tag(index),
            kind: *kind,
            data_type: DataType::Float,
            role: TagRole::Plain,
            unit: String::new(),
        }));
    }
    for epoch in 0..epochs {
        let epoch = Epoch::from_u64(epoch);
        let all = (0..20).map(|n| SeriesId(u32::try_from(epoch.as_u64()).expect("small") * 100 + n));
        let known = all.filter_map(|series| place(epoch, series).map(|p| (series, (p.machine, p.tag))));
        memory.series.insert(epoch, known.collect());
    }
    memory
}

impl Memory {
    /// A batch comes and stays unsealed.
    pub(crate) fn receive(&mut self, batch: &Batch) {
        let header = batch.header;
        let bytes =
            Batch::encode(header.epoch, header.sequence, batch.committed_at, &batch.body).expect("a batch");
        self.batches.insert((header.epoch, header.sequence), (header, bytes.into()));
    }

    /// Seals batches; their hours are due.
    pub(crate) fn seal(&mut self, batches: &[&Batch]) {
        let mut ordered = batches.to_vec();
        ordered.sort_by_key(|batch| (batch.header.epoch, batch.header.sequence));
        let mut gatherer = Gatherer::new();
        ordered.iter().for_each(|batch| gatherer.add(batch, place).expect("in order"));
        for ((machine, minute), content) in gatherer.finish() {
            self.due.push((machine.clone(), Hour::of(minute.start())));
            self.merge(SegmentKey { machine, minute }, content);
        }
    }

    fn merge(&mut self, key: SegmentKey, content: Content) {
        let row = self.rows.get(&key);
        let stored = row.map(|row| Stored { head: &row.head, body: row.body.as_deref() });
        let (head, body, late) = match merge(stored, content).expect("sound") {
            Merged::Unchanged => return,
            Merged::Replaced(segment) => (segment.head, Some(segment.body.into()), None),
            Merged::Beside { head, late } => {
                let known = row.and_then(|row| row.late.clone());
                let late =
                    Head::read(&late.head).and_then(|head| head.open(&late.body)?.content()).expect("own");
                let known = known.as_ref().map(|l| Stored { head: &l.head, body: Some(&l.body) });
                let Merged::Replaced(late) = merge(known, late).expect("sound") else {
                    panic!("something is new")
                };
                (head, None, Some(LateSegment { head: late.head.into(), body: late.body.into() }))
            }
        };
        let row = SegmentRow {
            key: key.clone(),
            revision: Revision(1),
            head: head.into(),
            body,
            late,
            is_archived: false,
        };
        self.rows.insert(key, row);
    }

    /// Makes the rollups of hours that are due.
    pub(crate) fn roll_up(&mut self) {
        let due: BTreeSet<(MachineId, Hour)> = std::mem::take(&mut self.due).into_iter().collect();
        for (machine, hour) in due {
            let heads: Vec<Head> = self
                .rows
                .values()
                .filter(|row| row.key.machine == machine && hour.minutes().contains(&row.key.minute))
                .map(|row| Head::read(&row.head).expect("own"))
                .collect();
            let tag = |tag: &TagRecord| {
                let rollups = heads.iter().filter_map(|head| head.rollup(tag.number));
                Some((tag.number, Rollup::over(rollups, Hold::DEFAULT)?))
            };
            let rollups = self.tags.iter().filter(|tag| tag.machine == machine).filter_map(tag).collect();
            let bytes = rollups_to_bytes(&rollups).expect("small");
            self.hours.insert((machine, hour), bytes.into());
        }
    }

    /// Writes the objects of all days; what an object holds stays in the store, too.
    pub(crate) fn archive(&mut self) {
        let mut days: BTreeMap<i64, crate::memory::Held> = BTreeMap::new();
        for row in self.rows.values_mut() {
            let Some(body) = &row.body else { continue };
            let content = Head::read(&row.head).and_then(|head| head.open(body)?.content()).expect("own");
            let day = row.key.minute.start().micros().div_euclid(DAY);
            for tag in self.tags.iter().filter(|tag| tag.machine == row.key.machine) {
                let held = days.entry(day).or_default().entry((row.key.machine.clone(), tag.number));
                held.or_insert_with(|| (tag.clone(), Vec::new())).1.extend(content.sourced(tag.number));
            }
            row.is_archived = true;
        }
        for (day, held) in days {
            let (start, end) = (Timestamp::from_micros(day * DAY), Timestamp::from_micros((day + 1) * DAY));
            let row = ObjectRow {
                id: ObjectId(day.cast_unsigned()),
                gateway: gateway(),
                start,
                end,
                path: format!("day-{day}"),
                state: ObjectState::Verified,
                samples: 0,
                bytes: 0,
                sha256: [0; 32],
                directory: Bytes::new(),
                changed_at: end,
            };
            self.objects.push((row, held));
        }
    }

    /// Drops bodies of archived minutes.
    pub(crate) fn drop_bodies(&mut self, is_meant: impl Fn(Minute) -> bool) {
        for row in self.rows.values_mut().filter(|row| row.is_archived && is_meant(row.key.minute)) {
            let head = Head::read(&row.head).expect("own").without_body();
            (row.head, row.body) = (head.to_bytes().expect("small").into(), None);
        }
    }

    /// Drops the archived segments of whole hours; their rollups stay.
    pub(crate) fn drop_segments(&mut self, is_meant: impl Fn(Hour) -> bool) {
        self.rows.retain(|key, row| !(row.is_archived && is_meant(Hour::of(key.minute.start()))));
    }
}
