//! What an object says of itself, and what of it is kept outside.
//!
//! The footer of an object has two entries: `archive`, a JSON document that names each tag, its rows and its digest, and
//! `columns`, which explains the columns to people. The *directory* is everything after the last row group, that is
//! indexes and footer, as it lies in the object (encrypted where the object is):
//!
//! ```text
//! offset size  field
//!      0    1  version, 1
//!      1    8  length of the object, little-endian
//!      9    8  where the last row group ends
//!     17    …  zstd(the bytes from there on)
//! ```

use std::ops::Range;

use bytes::Bytes;
use plant_model::{DataType, MachineId, TagId, Timestamp};
use protocol::TagRole;
use segments::{TagKind, TagNumber};
use serde::{Deserialize, Serialize};
use tiering::{Contents, MachineContents, TagContents, TagDigest, TagRecord};

/// The entry of the footer.
pub(crate) const INDEX_KEY: &str = "archive";
/// The entry for people.
pub(crate) const COLUMNS_KEY: &str = "columns";
/// What it says.
pub(crate) const COLUMNS_TEXT: &str = "One row is one sample, sorted by machine, tag_number, time. Times are UTC. The \
    number of a sample is coalesce(value_double, value_float, value_scaled / power(10, decimals), value_int); no value at \
    all means that there was none, and quality (OPC UA status code, 0 is good) says why. time is the machine's own \
    (is_source_time) or the gateway's; gateway_time and source_time are given where they differ from it. epoch, sequence \
    and is_thinned name the batch that brought the sample.";

const VERSION: u32 = 1;
const DIRECTORY_VERSION: u8 = 1;
const DIRECTORY_BYTES: usize = 17;
/// Longest part of an object after its row groups: 20,000 tags and a year of pages take about 20 MB.
pub(crate) const TAIL_BYTES_MAX: usize = 256 << 20;

/// The document in the footer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Index {
    version: u32,
    pub(crate) machines: Vec<IndexMachine>,
}

/// Of a machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IndexMachine {
    pub(crate) machine: String,
    pub(crate) tags: Vec<IndexTag>,
}

/// Of a tag.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IndexTag {
    pub(crate) number: u32,
    tag: String,
    kind: u8,
    data_type: String,
    role: String,
    unit: String,
    pub(crate) samples: u64,
    first: i64,
    last: i64,
    sha256: String,
    /// Which optional columns it uses.
    pub(crate) uses: u32,
    pub(crate) spans: Vec<Span>,
}

/// Rows of a tag in a row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) group: usize,
    pub(crate) row: usize,
    pub(crate) rows: usize,
}

impl IndexTag {
    pub(crate) fn new(tag: &TagRecord, digest: &TagDigest, uses: u32, spans: Vec<Span>) -> Self {
        Self {
            number: tag.number.0,
            tag: tag.tag.as_str().to_owned(),
            kind: tag.kind.code(),
            data_type: tag.data_type.name().to_owned(),
            role: tag.role.name().to_owned(),
            unit: tag.unit.clone(),
            samples: digest.samples,
            first: digest.first.micros(),
            last: digest.last.micros(),
            sha256: digest.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            uses,
            spans,
        }
    }

    pub(crate) fn overlaps(&self, range: &Range<Timestamp>) -> bool {
        self.first < range.end.micros() && range.start.micros() <= self.last
    }

    pub(crate) fn record(&self, machine: &MachineId) -> Option<TagRecord> {
        Some(TagRecord {
            machine: machine.clone(),
            number: TagNumber(self.number),
            tag: TagId::new(&self.tag).ok()?,
            kind: TagKind::from_code(self.kind)?,
            data_type: DataType::from_name(&self.data_type)?,
            role: TagRole::from_name(&self.role)?,
            unit: self.unit.clone(),
        })
    }

    fn digest(&self) -> Option<TagDigest> {
        let mut sha256 = [0; 32];
        if self.sha256.len() != 64 || !self.sha256.is_ascii() {
            return None;
        }
        for (byte, at) in sha256.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&self.sha256[at..at + 2], 16).ok()?;
        }
        let (first, last) = (Timestamp::from_micros(self.first), Timestamp::from_micros(self.last));
        Some(TagDigest { samples: self.samples, first, last, sha256 })
    }
}

impl Index {
    pub(crate) const fn new(machines: Vec<IndexMachine>) -> Self {
        Self { version: VERSION, machines }
    }

    /// Reads the document and checks it against the rows of the groups: a span never leaves its group, and those of a
    /// machine lie one after the other.
    pub(crate) fn read(json: &str, group_rows: &[usize]) -> Result<Self, String> {
        let index: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if index.version != VERSION {
            return Err(format!("its index has version {}; this program reads {VERSION}", index.version));
        }
        let (mut group, mut row) = (0, 0);
        for tag in index.machines.iter().flat_map(|machine| &machine.tags) {
            let mut samples = 0_u64;
            for span in &tag.spans {
                if span.group > group {
                    (group, row) = (span.group, 0);
                }
                let end = span.row.checked_add(span.rows);
                let is_in = end.is_some_and(|end| group_rows.get(group).is_some_and(|rows| end <= *rows));
                if span.group != group || span.row != row || !is_in {
                    return Err(format!("its index places tag {} where it cannot be", tag.number));
                }
                row += span.rows;
                samples += span.rows as u64;
            }
            if samples != tag.samples {
                return Err(format!("its index contradicts itself about tag {}", tag.number));
            }
        }
        index.contents().map(|_| index)
    }

    pub(crate) fn machine(&self, machine: &MachineId) -> Option<&IndexMachine> {
        self.machines.iter().find(|one| one.machine == machine.as_str())
    }

    pub(crate) fn contents(&self) -> Result<Contents, String> {
        let machines = self.machines.iter().map(|machine| machine.contents()).collect::<Option<_>>();
        Ok(Contents { machines: machines.ok_or("its index names what cannot be")? })
    }
}

impl IndexMachine {
    fn contents(&self) -> Option<MachineContents> {
        let machine = MachineId::new(&self.machine).ok()?;
        let tag = |tag: &IndexTag| Some(TagContents { tag: tag.record(&machine)?, digest: tag.digest()? });
        let tags = self.tags.iter().map(tag).collect::<Option<_>>()?;
        Some(MachineContents { machine, tags })
    }

    /// The row groups that hold something of it, in order.
    pub(crate) fn groups(&self) -> Vec<usize> {
        let mut groups: Vec<usize> =
            self.tags.iter().flat_map(|tag| tag.spans.iter().map(|s| s.group)).collect();
        groups.dedup();
        groups
    }
}

/// The directory of an object of so many bytes, from its tail.
pub(crate) fn directory(bytes: u64, tail_start: u64, tail: &[u8]) -> std::io::Result<Bytes> {
    let mut out = vec![DIRECTORY_VERSION];
    out.extend(bytes.to_le_bytes());
    out.extend(tail_start.to_le_bytes());
    out.extend(zstd::bulk::compress(tail, zstd::DEFAULT_COMPRESSION_LEVEL)?);
    Ok(out.into())
}

/// The inverse: length of the object, start of its tail, and the tail.
pub(crate) fn tail(directory: &[u8]) -> Result<(u64, u64, Bytes), String> {
    let Some((fixed, frame)) = directory.split_first_chunk::<DIRECTORY_BYTES>() else {
        return Err(format!("its directory has {} bytes", directory.len()));
    };
    if fixed[0] != DIRECTORY_VERSION {
        return Err(format!("its directory has version {}; this program reads 1", fixed[0]));
    }
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| fixed[at + i]));
    let (bytes, start) = (number(1), number(9));
    let expected = bytes.checked_sub(start).and_then(|length| usize::try_from(length).ok());
    let expected =
        expected.filter(|length| *length <= TAIL_BYTES_MAX).ok_or("its directory is not possible")?;
    let tail = zstd::bulk::decompress(frame, expected).map_err(|error| error.to_string())?;
    if tail.len() != expected {
        return Err(format!("its directory has {} bytes of tail; it says {expected}", tail.len()));
    }
    Ok((bytes, start, tail.into()))
}
