//! An object whose indexes are known: where the pages of a tag lie, and how its rows are read.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    RowSelection,
};
use parquet::encryption::decrypt::{FileDecryptionProperties, KeyRetriever};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use plant_model::Timestamp;
use segments::{Sourced, TagNumber};
use tiering::ObjectKey;

use crate::decode::Columns;
use crate::index::{INDEX_KEY, Index};
use crate::layout::{ALWAYS, IDENTITY, OPTIONAL, schema};
use crate::sparse::Sparse;

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 8_192;

/// Bytes before the first row group.
const MAGIC_BYTES: u64 = 4;

/// An object of which the tail was read.
#[derive(Clone)]
pub(crate) struct Object {
    metadata: ArrowReaderMetadata,
    pub(crate) index: Arc<Index>,
}

/// What opening a tail came to.
pub(crate) enum Opening {
    Opened(Object),
    /// It is encrypted, and this is written beside it to find the key by.
    NeedsKey(Bytes),
    /// The tail begins too late.
    NeedsMore,
}

/// Notes what is written beside an encrypted object.
#[derive(Default)]
struct Notes(Mutex<Option<Vec<u8>>>);

impl KeyRetriever for Notes {
    fn retrieve_key(&self, metadata: &[u8]) -> Result<Vec<u8>, ParquetError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(metadata.to_vec());
        Err(ParquetError::General("the key is not known yet".to_owned()))
    }
}

impl Object {
    /// Opens an object by its tail, with its key if that is known. The path is bound into what is encrypted.
    pub(crate) fn open(tail: &Sparse, path: &str, key: Option<&ObjectKey>) -> Result<Opening, String> {
        let notes = Arc::new(Notes::default());
        let decryption = match key {
            Some(key) => FileDecryptionProperties::builder(key.expose().to_vec())
                .with_aad_prefix(path.as_bytes().to_vec())
                .build(),
            None => FileDecryptionProperties::with_key_retriever(Arc::clone(&notes) as Arc<dyn KeyRetriever>)
                .with_aad_prefix(path.as_bytes().to_vec())
                .build(),
        };
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_offset_index_policy(PageIndexPolicy::Required)
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_file_decryption_properties(decryption.map_err(|error| error.to_string())?);
        let loaded = ArrowReaderMetadata::load(tail, options);
        if let Some(metadata) = notes.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Ok(Opening::NeedsKey(metadata.into()));
        }
        let metadata = match loaded {
            Err(ParquetError::EOF(_)) => return Ok(Opening::NeedsMore),
            loaded => loaded.map_err(|error| error.to_string())?,
        };
        let index = Self::index(&metadata)?;
        Ok(Opening::Opened(Self { metadata, index: Arc::new(index) }))
    }

    fn index(metadata: &ArrowReaderMetadata) -> Result<Index, String> {
        let file = metadata.metadata().file_metadata();
        let expected = schema();
        let names = metadata.schema().fields().iter().map(|field| field.name());
        if !names.eq(expected.fields().iter().map(|field| field.name())) {
            return Err("its columns are not those of the archive".to_owned());
        }
        let entries = file.key_value_metadata().into_iter().flatten();
        let json = entries.filter(|entry| entry.key == INDEX_KEY).find_map(|entry| entry.value.as_deref());
        let groups = metadata.metadata().row_groups().iter();
        let rows: Vec<usize> = groups.map(|g| usize::try_from(g.num_rows()).unwrap_or(0)).collect();
        Index::read(json.ok_or("its footer has no entry `archive`")?, &rows)
    }

    /// Where the last row group ends.
    pub(crate) fn tail_start(&self) -> Result<u64, String> {
        let groups = 0..self.metadata.metadata().num_row_groups();
        let ends = groups.map(|group| self.group_range(group).map(|range| range.end));
        Ok(ends.collect::<Result<Vec<_>, _>>()?.into_iter().max().unwrap_or(MAGIC_BYTES))
    }

    /// Rows of a row group; none where there is no such group.
    pub(crate) fn group_rows(&self, group: usize) -> usize {
        let group = self.metadata.metadata().row_groups().get(group);
        group.map_or(0, |group| usize::try_from(group.num_rows()).unwrap_or(0))
    }

    /// Where a row group lies.
    pub(crate) fn group_range(&self, group: usize) -> Result<Range<u64>, String> {
        let columns = self.metadata.metadata().row_groups().get(group).map(|group| group.columns());
        let ranges = columns.into_iter().flatten().map(|column| column.byte_range());
        let ranges: Vec<Range<u64>> =
            ranges.map(|(start, length)| start..start.saturating_add(length)).collect();
        let start = ranges.iter().map(|range| range.start).min();
        let end = ranges.iter().map(|range| range.end).max();
        Ok(start.ok_or("a row group has no columns")?..end.unwrap_or(0))
    }

    /// The pages of some columns that hold rows of a range.
    pub(crate) fn pages(
        &self,
        group: usize,
        columns: &ProjectionMask,
        rows: &Range<usize>,
    ) -> Result<Vec<Range<u64>>, String> {
        let metadata = self.metadata.metadata();
        let indexes = metadata.page_index_for_row_group(group);
        let group = metadata.row_groups().get(group).ok_or("a row group is not there")?;
        let mut out = Vec::new();
        for (at, column) in group.columns().iter().enumerate().filter(|(at, _)| columns.leaf_included(*at)) {
            let pages = indexes.page_locations(at).ok_or("a column has no index of its pages")?;
            let unsigned = |number: i64| u64::try_from(number).map_err(|_| "a page lies before the object");
            let (start, _) = column.byte_range();
            if let Some(first) = pages.first() {
                // The dictionary lies before the first page.
                out.push(start..unsigned(first.offset)?);
            }
            for (page, next) in pages.iter().zip(pages.iter().skip(1).map(Some).chain([None])) {
                let first = usize::try_from(page.first_row_index).unwrap_or(usize::MAX);
                let end =
                    next.map_or(usize::MAX, |n| usize::try_from(n.first_row_index).unwrap_or(usize::MAX));
                if rows.start < end && first < rows.end {
                    let start = unsigned(page.offset)?;
                    out.push(start..start.saturating_add(unsigned(page.compressed_page_size.into())?));
                }
            }
        }
        Ok(out)
    }

    /// The columns that hold samples of tags with these uses.
    pub(crate) fn columns(&self, uses: u32) -> ProjectionMask {
        let used = OPTIONAL.iter().enumerate().filter(|(at, _)| uses & 1 << at != 0).map(|(_, name)| *name);
        ProjectionMask::columns(self.metadata.parquet_schema(), ALWAYS.into_iter().chain(used))
    }

    /// All columns but the names, so that each row can be held against the index.
    pub(crate) fn all_columns(&self) -> ProjectionMask {
        let all = ALWAYS.into_iter().chain(OPTIONAL).chain([IDENTITY[2]]);
        ProjectionMask::columns(self.metadata.parquet_schema(), all)
    }

    /// Reads rows of a group.
    pub(crate) fn rows(
        &self,
        pages: Sparse,
        group: usize,
        columns: ProjectionMask,
        rows: &Range<usize>,
    ) -> Result<RowReader, String> {
        let selection =
            RowSelection::from_consecutive_ranges(std::iter::once(rows.clone()), self.group_rows(group));
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(pages, self.metadata.clone())
            .with_row_groups(vec![group])
            .with_projection(columns)
            .with_row_selection(selection)
            .with_batch_size(BATCH_ROWS)
            .build();
        Ok(RowReader { reader: reader.map_err(|error| error.to_string())?, batch: None, at: 0 })
    }
}

/// Rows that are being read.
pub(crate) struct RowReader {
    reader: ParquetRecordBatchReader,
    batch: Option<Columns>,
    /// The next row of the batch.
    at: usize,
}

impl RowReader {
    /// Reads the next rows, which are of a tag, at most so many and only those before an instant. Answers how many.
    pub(crate) fn read(
        &mut self,
        tag: TagNumber,
        rows: usize,
        before: Timestamp,
        out: &mut Vec<Sourced>,
    ) -> Result<usize, String> {
        let mut read = 0;
        while read < rows {
            let (batch, at) = self.fill()?;
            if !batch.is_of(at, tag) {
                return Err(format!("a row in the place of tag {} is of another", tag.0));
            }
            let sample = batch.sample(at);
            if sample.sample.timestamp() >= before {
                break;
            }
            out.push(sample);
            read += 1;
            self.at += 1;
        }
        Ok(read)
    }

    /// The batch that has the next row, and which that is.
    fn fill(&mut self) -> Result<(&mut Columns, usize), String> {
        while self.batch.as_ref().is_none_or(|batch| self.at >= batch.rows()) {
            let next = self.reader.next().ok_or("it has fewer rows than its index says")?;
            let next = next.map_err(|error| error.to_string())?;
            self.batch = Some(Columns::of(&next).ok_or("a column is not of the archive's type")?);
            self.at = 0;
        }
        let at = self.at;
        self.batch.as_mut().map(|batch| (batch, at)).ok_or_else(|| "it has no rows".to_owned())
    }
}
