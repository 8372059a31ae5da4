//! The cold tier: the port to the objects of the archive.
//!
//! An object holds the samples of a gateway of some days. It is written once and never changed; what comes late makes
//! another object that supersedes it. Whoever moves samples here
//!
//! 1. enters the object in the manifest ([`crate::TierStore::begin_object`]),
//! 2. writes it, machine by machine ([`Archive::create`]), and gets what was written as [`Contents`], made of the samples
//!    that were handed over,
//! 3. has it read back from where it lies ([`Archive::verify`]) and compares: the contents made of what was read have to be
//!    the same, and so has the hash of the bytes,
//! 4. commits it ([`crate::TierStore::commit_object`]).
//!
//! Killed anywhere, it leaves an object that nothing relies on ([`Archive::list`], [`Archive::delete`]).

mod digest;
mod machine;
mod place;

use std::error::Error as StdError;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::time::SystemTime;

use bytes::Bytes;
use plant_model::{MachineId, TenantId, Timestamp};
use segments::{SegmentError, Sourced, TagNumber};
use thiserror::Error;

pub use digest::{Contents, MachineContents, TagContents, TagDigest, TagHash};
pub use machine::{MachineSource, SegmentsOfMachine, TagReader, Union, contents_of_minutes};
pub use place::object_path;

use crate::{ObjectRow, TagRecord};

/// What the archive answers: a future that can be sent between threads.
pub type ArchiveFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, ArchiveError>> + Send + 'a>>;

/// Why nothing was written to or read from the archive.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The object store cannot be reached or refuses to work; trying again later may help.
    #[error("the archive is not available for {path}")]
    Unavailable {
        /// Of what.
        path: String,
        /// Why.
        #[source]
        cause: Box<dyn StdError + Send + Sync>,
    },
    /// There is no such object.
    #[error("the archive has no object {path}")]
    Missing {
        /// Which.
        path: String,
    },
    /// An object of this path is there already. None is ever written over: take another generation.
    #[error("the archive has an object {path} already; objects are not written over")]
    Exists {
        /// Which.
        path: String,
    },
    /// The object is not what was written, or was never one of ours.
    #[error("object {path} is damaged: {detail}")]
    Damaged {
        /// Which.
        path: String,
        /// How.
        detail: String,
    },
    /// The key of the object was not found, or does not fit.
    #[error("object {path} cannot be opened: {detail}")]
    Key {
        /// Which.
        path: String,
        /// Why.
        detail: String,
    },
    /// Reading it would take more than the reader may spend. Nothing was read.
    #[error("reading {path} takes {needed} {what}; {allowed} are left: ask for less time or fewer tags")]
    Budget {
        /// Which.
        path: String,
        /// Of what.
        what: &'static str,
        /// How much.
        needed: u64,
        /// How much there is.
        allowed: u64,
    },
    /// What was to be archived cannot be read.
    #[error("a segment of machine {machine} cannot be read")]
    Segment {
        /// Whose.
        machine: MachineId,
        /// Why.
        #[source]
        cause: SegmentError,
    },
    /// A segment has a tag that the store does not name.
    #[error("tag {} of machine {machine} has samples, and no name", .tag.0)]
    UnknownTag {
        /// Whose.
        machine: MachineId,
        /// Which.
        tag: TagNumber,
    },
    /// The caller is wrong.
    #[error("the archive was used wrongly: {0}")]
    Misuse(String),
}

/// Keeps the objects of the archive of each tenant. A path is that of [`ObjectRow::path`]: relative to the tenant.
pub trait Archive: Send + Sync {
    /// Begins an object of days, start and end being boundaries of days; samples outside are not taken. Nothing is there to
    /// be read before [`ObjectWriter::finish`] is ready.
    ///
    /// # Errors
    /// [`ArchiveError::Exists`], here or at the end.
    fn create<'a>(
        &'a self,
        tenant: &'a TenantId,
        path: &'a str,
        days: Range<Timestamp>,
    ) -> ArchiveFuture<'a, Box<dyn ObjectWriter>>;

    /// Reads a whole object back from where it lies, and says what it holds and weighs, as [`ObjectWriter::finish`] did.
    /// Of the row, only path, start and end are looked at.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`] where bytes are not an object; an object with other samples is told by comparing.
    fn verify<'a>(&'a self, tenant: &'a TenantId, object: &'a ObjectRow) -> ArchiveFuture<'a, Written>;

    /// Samples of some tags of a machine. Tags without samples are left out.
    fn read<'a>(
        &'a self,
        tenant: &'a TenantId,
        object: &'a ObjectRow,
        query: ObjectQuery,
    ) -> ArchiveFuture<'a, ObjectSamples>;

    /// All that an object holds of a machine, fetched now and decoded tag by tag later; `None` if it holds nothing. Memory:
    /// the compressed bytes, about 1.5 a sample.
    fn machine<'a>(
        &'a self,
        tenant: &'a TenantId,
        object: &'a ObjectRow,
        machine: &'a MachineId,
    ) -> ArchiveFuture<'a, Option<Box<dyn MachineSource>>>;

    /// What an object holds, out of its [`ObjectRow::directory`]: no request. It is what the object says, not what was
    /// verified now.
    ///
    /// # Errors
    /// [`ArchiveError::Key`], [`ArchiveError::Damaged`].
    fn contents<'a>(&'a self, tenant: &'a TenantId, object: &'a ObjectRow) -> ArchiveFuture<'a, Contents>;

    /// Deletes an object; one that is not there is deleted.
    fn delete<'a>(&'a self, tenant: &'a TenantId, path: &'a str) -> ArchiveFuture<'a, ()>;

    /// All objects of a tenant, whether or not the manifest knows them, in order of their paths.
    fn list<'a>(&'a self, tenant: &'a TenantId) -> ArchiveFuture<'a, Vec<StoredObject>>;
}

/// An object that is being written.
pub trait ObjectWriter: Send {
    /// Adds all samples of a machine. Each machine is added once, in the order of their ids.
    fn add<'a>(&'a mut self, machine: Box<dyn MachineSource>) -> ArchiveFuture<'a, ()>;

    /// Ends the object. It can be read, and lasts, when this is ready. An object that is not ended leaves nothing that
    /// [`Archive::list`] shows.
    fn finish(self: Box<Self>) -> ArchiveFuture<'static, Written>;
}

/// What was written or verified.
#[derive(Debug, Clone)]
pub struct Written {
    /// What the object is: equal if and only if nothing was damaged.
    pub object: ObjectFacts,
    /// What it took.
    pub cost: ReadCost,
}

/// What an object is: what the row of the manifest has to say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFacts {
    /// What it holds.
    pub contents: Contents,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 over its bytes.
    pub sha256: [u8; 32],
    /// What [`ObjectRow::directory`] has to be.
    pub directory: Bytes,
}

/// What to read of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectQuery {
    /// Whose samples.
    pub machine: MachineId,
    /// Of which tags, in order.
    pub tags: Vec<TagNumber>,
    /// Of which time, half open.
    pub range: Range<Timestamp>,
    /// What may be spent.
    pub budget: ReadBudget,
}

/// What reading an object may cost at most. What is needed is known before anything is read, but for the samples, of
/// which those of whole pages of a tag count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadBudget {
    /// Requests to the object store.
    pub requests: u64,
    /// Bytes that it sends.
    pub bytes: u64,
    /// Samples that are decoded: about 90 bytes of memory each.
    pub samples: u64,
}

/// What something cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadCost {
    /// Requests to the object store.
    pub requests: u64,
    /// Bytes that were sent or fetched.
    pub bytes: u64,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectSamples {
    /// Of each tag its samples in order of time, as [`segments::Content::sourced`].
    pub tags: Vec<(TagRecord, Vec<Sourced>)>,
    /// What it cost.
    pub cost: ReadCost,
}

/// Something that lies in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// Its path below the tenant.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the clock of the object store.
    pub modified_at: SystemTime,
}

/// The keys of objects. How they are kept is not told here.
pub trait ObjectKeys: Send + Sync {
    /// A new key for an object.
    fn create<'a>(&'a self, tenant: &'a TenantId, path: &'a str) -> ArchiveFuture<'a, NewKey>;

    /// The key of an object, by what is written beside it.
    ///
    /// # Errors
    /// [`ArchiveError::Key`]: it is not that of this object, or was destroyed.
    fn find<'a>(
        &'a self,
        tenant: &'a TenantId,
        path: &'a str,
        metadata: Bytes,
    ) -> ArchiveFuture<'a, ObjectKey>;
}

/// A key of 256 bits, wiped from memory when dropped.
#[derive(Clone)]
pub struct ObjectKey(zeroize::Zeroizing<[u8; 32]>);

impl ObjectKey {
    /// From its bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(zeroize::Zeroizing::new(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ObjectKey(…)")
    }
}

/// A key, and how it is found again.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// It.
    pub key: ObjectKey,
    /// What is written beside the object: names the key, or holds it wrapped. Readable by everybody.
    pub metadata: Bytes,
}
