//! An object that is being written.
//!
//! Rows become pages at once, pages a row group at the end of a machine, and what is complete goes to the object store in
//! parts. Memory: the compressed row group, the pages that are open (33 MB at most), the samples of one tag and day, and
//! [`PART_BYTES`]. What is shorter than a part is written by one request that never replaces anything.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use object_store::path::Path;
use object_store::{
    Attributes, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions,
};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::file::metadata::KeyValue;
use plant_model::Timestamp;
use segments::Sourced;
use sha2::{Digest as _, Sha256};
use tiering::{
    ArchiveError, ArchiveFuture, Contents, MachineContents, MachineSource, NewKey, ObjectFacts, ObjectWriter,
    ReadCost, TagContents, TagHash, TagReader, TagRecord, Written,
};

use crate::error::{blocking, damaged, of_store};
use crate::index::{COLUMNS_KEY, COLUMNS_TEXT, INDEX_KEY, Index, IndexMachine, IndexTag, Span, directory};
use crate::layout::{self, GROUP_ROWS_MAX};
use crate::{days, encode};

/// Bytes of a part: an S3 object has at most 10,000, so that the largest is 160 GB.
const PART_BYTES: usize = 16 << 20;

/// Rows that are made at a time.
const BATCH_ROWS: usize = 65_536;

/// Where the bytes of the file go: hashed, counted, and kept until they are sent.
#[derive(Default)]
struct Sink {
    bytes: Vec<u8>,
    hash: Sha256,
    total: u64,
    /// From here on they are kept a second time: indexes and footer.
    tail: Option<(u64, Vec<u8>)>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.total += bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        if let Some((_, tail)) = &mut self.tail {
            tail.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The file, without where it goes.
struct File {
    path: String,
    days: Vec<Range<Timestamp>>,
    schema: SchemaRef,
    writer: ArrowWriter<Sink>,
    /// The row group that is being made, and its rows.
    group: (usize, usize),
    index: Vec<IndexMachine>,
    contents: Contents,
}

impl File {
    fn new(path: &str, days: Range<Timestamp>, key: Option<&NewKey>) -> Result<Self, ArchiveError> {
        let wrong = |error: &dyn std::fmt::Display| ArchiveError::Misuse(format!("{path}: {error}"));
        let days = days::split(&days).map_err(|detail| wrong(&detail))?;
        let encryption = key.map(|key| {
            FileEncryptionProperties::builder(key.key.expose().to_vec())
                .with_footer_key_metadata(key.metadata.to_vec())
                .with_aad_prefix(path.as_bytes().to_vec())
                .with_aad_prefix_storage(true)
                .build()
        });
        let encryption = encryption.transpose().map_err(|error| wrong(&error))?;
        let schema = layout::schema();
        let options = ArrowWriterOptions::new()
            .with_properties(layout::properties(encryption))
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Sink::default(), Arc::clone(&schema), options);
        Ok(Self {
            path: path.to_owned(),
            days,
            schema,
            writer: writer.map_err(|error| wrong(&error))?,
            group: (0, 0),
            index: Vec::new(),
            contents: Contents::default(),
        })
    }

    fn add(&mut self, source: &dyn MachineSource) -> Result<(), ArchiveError> {
        let machine = source.machine().clone();
        if self.contents.machines.last().is_some_and(|last| last.machine >= machine) {
            return Err(ArchiveError::Misuse(format!("machine {machine} was added too late, or twice")));
        }
        let mut reader = source.open()?;
        let (mut index, mut tags) = (Vec::new(), Vec::new());
        for tag in source.tags() {
            if let Some((entry, contents)) = self.tag(&mut *reader, tag)? {
                index.push(entry);
                tags.push(contents);
            }
        }
        self.end_group()?;
        if !tags.is_empty() {
            self.index.push(IndexMachine { machine: machine.as_str().to_owned(), tags: index });
            self.contents.machines.push(MachineContents { machine, tags });
        }
        Ok(())
    }

    /// Writes all samples of a tag, day by day.
    fn tag(
        &mut self,
        reader: &mut dyn TagReader,
        tag: &TagRecord,
    ) -> Result<Option<(IndexTag, TagContents)>, ArchiveError> {
        let (mut hash, mut spans, mut uses) = (TagHash::default(), Vec::new(), 0);
        for day in self.days.clone() {
            let samples = reader.samples(tag.number, &day)?;
            hash.add(&samples);
            for chunk in samples.chunks(BATCH_ROWS) {
                uses |= self.rows(tag, chunk, &mut spans)?;
            }
        }
        Ok(hash.finish().map(|digest| {
            let contents = TagContents { tag: tag.clone(), digest };
            (IndexTag::new(tag, &digest, uses, spans), contents)
        }))
    }

    fn rows(
        &mut self,
        tag: &TagRecord,
        samples: &[Sourced],
        spans: &mut Vec<Span>,
    ) -> Result<u32, ArchiveError> {
        if self.group.1 + samples.len() > GROUP_ROWS_MAX {
            self.end_group()?;
        }
        let rows = encode::rows(&self.schema, tag, samples).map_err(|error| damaged(&self.path, &error))?;
        self.writer.write(&rows.batch).map_err(|error| damaged(&self.path, &error))?;
        let (group, row) = self.group;
        match spans.last_mut() {
            Some(span) if span.group == group => span.rows += samples.len(),
            Some(_) | None => spans.push(Span { group, row, rows: samples.len() }),
        }
        self.group.1 += samples.len();
        Ok(rows.uses)
    }

    fn end_group(&mut self) -> Result<(), ArchiveError> {
        if self.group.1 > 0 {
            self.writer.flush().map_err(|error| damaged(&self.path, &error))?;
            self.group = (self.group.0 + 1, 0);
        }
        Ok(())
    }

    /// Writes indexes and footer. Answers what the object is, and the bytes that are left to send.
    fn finish(mut self) -> Result<(ObjectFacts, Vec<u8>), ArchiveError> {
        let wrong = |error: &dyn std::fmt::Display| damaged(&self.path, error);
        let json = serde_json::to_string(&Index::new(self.index)).map_err(|error| wrong(&error))?;
        for (key, value) in [(INDEX_KEY, json), (COLUMNS_KEY, COLUMNS_TEXT.to_owned())] {
            self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        // The magic number may not have been written yet.
        self.writer.sync().map_err(|error| wrong(&error))?;
        let sink = self.writer.inner_mut();
        sink.tail = Some((sink.total, Vec::new()));
        self.writer.finish().map_err(|error| wrong(&error))?;
        let sink = std::mem::take(self.writer.inner_mut());
        let (start, tail) = sink.tail.unwrap_or_default();
        let object = ObjectFacts {
            contents: self.contents,
            bytes: sink.total,
            sha256: sink.hash.finalize().into(),
            directory: directory(sink.total, start, &tail).map_err(|error| wrong(&error))?,
        };
        Ok((object, sink.bytes))
    }
}

/// An object on its way to the object store.
pub(crate) struct Upload {
    /// `None` after a step failed.
    file: Option<File>,
    sender: Sender,
}

impl Upload {
    pub(crate) fn new(
        sender: Sender,
        days: Range<Timestamp>,
        key: Option<&NewKey>,
    ) -> Result<Self, ArchiveError> {
        Ok(Self { file: Some(File::new(&sender.path, days, key)?), sender })
    }

    fn take_file(&mut self) -> Result<File, ArchiveError> {
        let failed = || ArchiveError::Misuse(format!("{} failed before", self.sender.path));
        self.file.take().ok_or_else(failed)
    }

    async fn add_machine(&mut self, machine: Box<dyn MachineSource>) -> Result<(), ArchiveError> {
        let mut file = self.take_file()?;
        let mut file = blocking(&self.sender.path, move || file.add(&*machine).map(|()| file)).await?;
        let pending = &mut file.writer.inner_mut().bytes;
        while pending.len() >= PART_BYTES {
            let rest = pending.split_off(PART_BYTES);
            self.sender.part(std::mem::replace(pending, rest)).await?;
        }
        self.file = Some(file);
        Ok(())
    }

    async fn end(mut self) -> Result<Written, ArchiveError> {
        let file = self.take_file()?;
        let (object, rest) = blocking(&self.sender.path, move || file.finish()).await?;
        self.sender.end(rest).await?;
        Ok(Written { object, cost: self.sender.cost })
    }
}

impl ObjectWriter for Upload {
    fn add<'a>(&'a mut self, machine: Box<dyn MachineSource>) -> ArchiveFuture<'a, ()> {
        Box::pin(self.add_machine(machine))
    }

    fn finish(self: Box<Self>) -> ArchiveFuture<'static, Written> {
        Box::pin(self.end())
    }
}

/// Sends the bytes of one object.
pub(crate) struct Sender {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Where in the store.
    pub(crate) place: Path,
    /// Below the tenant, for messages.
    pub(crate) path: String,
    /// Its storage class.
    pub(crate) attributes: Attributes,
    pub(crate) parts: Option<Box<dyn MultipartUpload>>,
    pub(crate) cost: ReadCost,
}

impl Sender {
    async fn part(&mut self, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        let failed = |error| of_store(&self.path, error);
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => {
                let options =
                    PutMultipartOptions { attributes: self.attributes.clone(), ..Default::default() };
                self.cost.requests += 1;
                self.store.put_multipart_opts(&self.place, options).await.map_err(failed)?
            }
        };
        self.cost.requests += 1;
        self.cost.bytes += bytes.len() as u64;
        if let Err(error) = parts.put_part(bytes.into()).await {
            // What was sent so far is of no use; a store that cannot hear this forgets it by its own rules.
            let _ = parts.abort().await;
            return Err(failed(error));
        }
        self.parts = Some(parts);
        Ok(())
    }

    /// Sends the last bytes. An object in parts cannot be refused when it ends, so it is looked at before; its path has a
    /// generation of its own.
    async fn end(&mut self, rest: Vec<u8>) -> Result<(), ArchiveError> {
        if self.parts.is_none() {
            let options = PutOptions {
                mode: PutMode::Create,
                attributes: self.attributes.clone(),
                ..Default::default()
            };
            self.cost.requests += 1;
            self.cost.bytes += rest.len() as u64;
            let put = self.store.put_opts(&self.place, rest.into(), options).await;
            return put.map(drop).map_err(|error| of_store(&self.path, error));
        }
        self.part(rest).await?;
        let Some(mut parts) = self.parts.take() else { return Ok(()) };
        self.cost.requests += 2;
        let ended = match self.store.head(&self.place).await {
            Ok(_) => Err(ArchiveError::Exists { path: self.path.clone() }),
            Err(object_store::Error::NotFound { .. }) => {
                parts.complete().await.map(drop).map_err(|error| of_store(&self.path, error))
            }
            Err(error) => Err(of_store(&self.path, error)),
        };
        if ended.is_err() {
            let _ = parts.abort().await;
        }
        ended
    }
}
