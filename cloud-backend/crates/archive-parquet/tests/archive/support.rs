//! Samples of all kinds, an archive in a folder, and the way of an object through it.

use std::collections::BTreeMap;
use std::ops::Range;

use archive_parquet::ParquetArchive;
use plant_model::{DataType, GatewayId, MachineId, Quality, Sample, TagId, TenantId, Timestamp, Value};
use protocol::{Detail, Epoch, Sequence, TagRole};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use segments::{Source, Sourced, TagKind, TagNumber};
use tempfile::TempDir;
use tiering::{
    Archive, ArchiveError, MachineSource, ObjectFacts, ObjectId, ObjectQuery, ObjectRow, ObjectState,
    ReadBudget, TagReader, TagRecord,
};

pub(crate) const DAY: i64 = 86_400_000_000;
/// A day in 2026.
pub(crate) const START: i64 = 20_720 * DAY;
pub(crate) const PATH: &str = "gateway-1/2026/2026-09-24+1-0000000000000001.parquet";
pub(crate) const PLENTY: ReadBudget = ReadBudget { requests: 100, bytes: 1 << 30, samples: 10_000_000 };

pub(crate) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(START + micros)
}

pub(crate) fn tenant() -> TenantId {
    TenantId::new("acme").expect("an id")
}

pub(crate) fn machine(number: usize) -> MachineId {
    MachineId::new(&format!("press-{number:03}")).expect("an id")
}

/// Samples in memory.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    pub(crate) machine: MachineId,
    pub(crate) tags: Vec<TagRecord>,
    pub(crate) samples: BTreeMap<TagNumber, Vec<Sourced>>,
}

impl MachineSource for Memory {
    fn machine(&self) -> &MachineId {
        &self.machine
    }

    fn tags(&self) -> &[TagRecord] {
        &self.tags
    }

    fn open(&self) -> Result<Box<dyn TagReader + '_>, ArchiveError> {
        Ok(Box::new(self))
    }
}

impl TagReader for &Memory {
    fn samples(&mut self, tag: TagNumber, range: &Range<Timestamp>) -> Result<Vec<Sourced>, ArchiveError> {
        let all = self.samples.get(&tag).cloned().unwrap_or_default();
        Ok(all.into_iter().filter(|one| range.contains(&one.sample.timestamp())).collect())
    }
}

impl Memory {
    pub(crate) fn new(machine: MachineId) -> Self {
        Self { machine, tags: Vec::new(), samples: BTreeMap::new() }
    }

    /// Adds a tag; samples are put in order.
    pub(crate) fn tag(mut self, number: u32, mut samples: Vec<Sourced>) -> Self {
        samples.sort_by_key(|one| (one.sample.timestamp(), one.source));
        self.tags.push(TagRecord {
            machine: self.machine.clone(),
            number: TagNumber(number),
            tag: TagId::new(&format!("tag-{number}")).expect("an id"),
            kind: TagKind::Analog,
            data_type: DataType::Float,
            role: TagRole::Headline,
            unit: "°C".to_owned(),
        });
        self.samples.insert(TagNumber(number), samples);
        self
    }

    /// A machine of chance: values of one form a tag, with others between them, at instants that other tags have too.
    pub(crate) fn of_chance(number: usize, seed: u64, tags: u32, samples: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut memory = Self::new(machine(number));
        for tag in 0..tags {
            let all = (0..samples).map(|index| chance(&mut rng, tag, index)).collect();
            memory = memory.tag(tag * 3 + 1, all);
        }
        memory
    }
}

fn chance(rng: &mut StdRng, tag: u32, index: usize) -> Sourced {
    let odd = rng.random_range(0..20);
    let value = match (odd, tag % 6) {
        (0, _) => None,
        (1, _) => Some(Value::Float(f64::from_bits(rng.random()))),
        (2, _) => Some(Value::Text("jämmed".into())),
        (3, _) => Some(Value::Int(rng.random())),
        (_, 0) => Some(Value::Float(f64::from(rng.random_range(-900..900)) / 10.0)),
        (_, 1) => Some(Value::Float(f64::from(rng.random::<f32>()))),
        (_, 2) => Some(Value::Float(rng.random())),
        (_, 3) => Some(Value::Int(rng.random_range(0..100))),
        (_, 4) => Some(Value::Bool(rng.random())),
        _ => Some(Value::Text(["idle", "", "läuft"][rng.random_range(0..3)].into())),
    };
    let index = i64::try_from(index).expect("small");
    let at = at(index / 2 * 7_000_003 % DAY);
    let source_timestamp = match rng.random_range(0..6) {
        0 => Some(at),
        1 => Some(Timestamp::from_micros(at.micros() - rng.random_range(0..300_000_000))),
        // A clock that was never set.
        2 => Some(Timestamp::from_micros(rng.random())),
        _ => None,
    };
    let quality = if odd == 0 { Quality::from_status_code(rng.random()) } else { Quality::GOOD };
    let (sequence, epoch) = (u64::try_from(index / 5 + 1).expect("small"), 7 << (62 * (index % 2)));
    Sourced {
        sample: Sample { value, quality, source_timestamp, gateway_timestamp: at },
        source: Source { epoch: Epoch::from_u64(epoch), sequence: Sequence::from_u64(sequence) },
        detail: if odd == 4 { Detail::Thinned } else { Detail::Full },
    }
}

/// An archive in a folder that lasts as long.
pub(crate) fn folder() -> (TempDir, ParquetArchive) {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = ParquetArchive::open(&format!("file://{}", folder.path().display()), []).expect("opens");
    (folder, archive)
}

/// Where the object lies in the folder.
pub(crate) fn file(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("acme").join(PATH)
}

/// The row that names an object.
pub(crate) fn row(object: &ObjectFacts) -> ObjectRow {
    ObjectRow {
        id: ObjectId(1),
        gateway: GatewayId::new("gateway-1").expect("an id"),
        start: at(0),
        end: at(DAY),
        path: PATH.to_owned(),
        state: ObjectState::Writing,
        samples: object.contents.samples(),
        bytes: object.bytes,
        sha256: object.sha256,
        directory: object.directory.clone(),
        changed_at: at(0),
    }
}

/// Writes an object of a day.
pub(crate) async fn write(archive: &dyn Archive, machines: &[Memory]) -> Result<ObjectFacts, ArchiveError> {
    let tenant = tenant();
    let mut writer = archive.create(&tenant, PATH, at(0)..at(DAY)).await?;
    for machine in machines {
        writer.add(Box::new(machine.clone())).await?;
    }
    Ok(writer.finish().await?.object)
}

pub(crate) fn query(number: usize, tags: &[u32], range: Range<Timestamp>) -> ObjectQuery {
    let tags = tags.iter().map(|tag| TagNumber(*tag)).collect();
    ObjectQuery { machine: machine(number), tags, range, budget: PLENTY }
}

/// So that floats are compared to the last bit.
pub(crate) fn bits(samples: &[Sourced]) -> Vec<String> {
    let show = |one: &Sourced| match &one.sample.value {
        Some(Value::Float(float)) => format!("{:016x} {one:?}", float.to_bits()),
        Some(Value::Bool(_) | Value::Int(_) | Value::Text(_)) | None => format!("{one:?}"),
    };
    samples.iter().map(show).collect()
}

/// What a machine holds within the day.
pub(crate) fn of_day(memory: &Memory, tag: u32) -> Vec<Sourced> {
    let mut reader: &Memory = memory;
    reader.samples(TagNumber(tag), &(at(0)..at(DAY))).expect("in memory")
}
