//! Makes the moves of a plan, over the ports.
//!
//! An object is written, read back from where it lies, compared with the samples that were handed over, and entered in the
//! manifest; only then may what it was made of go, and right before bodies go their objects are read and compared once
//! more. Stopped at any call, nothing is lost or doubled: an object without its entry is one that nobody relies on, and
//! everything else is one transaction that is made or not.

mod look;
mod restore;
mod write;

use std::collections::BTreeSet;
use std::ops::Range;

use plant_model::{GatewayId, TenantId, Timestamp};
use segments::{Minute, SegmentError};
use thiserror::Error;

pub use look::{CATCH_UP, look};
pub use restore::{Compared, Restored};

use crate::policy::DAY;
use crate::{
    Action, Archive, ArchiveError, Dropped, Hour, Move, ObjectFacts, ObjectRow, ObjectState, Policy,
    PolicyStore, StoreError, TierStore,
};

/// Rows that one transaction drops: some milliseconds in which batches wait.
const DROP_STEP: usize = 1_000;

/// Why a move was not made. Nothing was lost; another run may make it.
#[derive(Debug, Error)]
pub enum MoveError {
    /// The store does not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive does not do it.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A segment is not what it should be.
    #[error("a segment of gateway {gateway} cannot be read")]
    Segment {
        /// Whose.
        gateway: GatewayId,
        /// Why.
        #[source]
        cause: SegmentError,
    },
    /// What is read from an object is not what its entry says, or what was written.
    #[error("object {path} is not what {expected}: {what} differ; nothing that it should hold is dropped")]
    Differs {
        /// Which.
        path: String,
        /// Against what it was held.
        expected: &'static str,
        /// In what.
        what: &'static str,
    },
    /// A segment that is in no object has neither body nor late samples.
    #[error("samples of minute {} of a machine of gateway {gateway} are neither in the store nor in an object", .minute.start().micros())]
    Nowhere {
        /// Whose.
        gateway: GatewayId,
        /// Of which minute.
        minute: Minute,
    },
    /// A hold was placed meanwhile.
    #[error("a hold covers what was to be dropped")]
    Held,
}

/// What a move did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moved {
    /// Samples written, or rows dropped.
    pub rows: u64,
    /// Bytes of the object, or of the rows.
    pub bytes: u64,
    /// The object that was written.
    pub object: Option<ObjectRow>,
}

/// Makes moves of one tenant.
#[derive(Clone, Copy)]
pub struct Mover<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// The tiers in the store.
    pub tiers: &'a dyn TierStore,
    /// Policies and holds.
    pub policies: &'a dyn PolicyStore,
    /// The objects.
    pub archive: &'a dyn Archive,
}

impl Mover<'_> {
    /// Makes a move. Whoever asks has the turn ([`PolicyStore::take_turn`]); a move of somebody else all the same makes one
    /// of the two fail, and nothing is written twice.
    ///
    /// # Errors
    /// It was not made, or only a part of it.
    pub async fn make(&self, policy: &Policy, m: &Move, now: Timestamp) -> Result<Moved, MoveError> {
        match &m.action {
            Action::Archive => self.write(policy, m, &[], now).await,
            Action::Rewrite(object) => self.write(policy, m, std::slice::from_ref(object), now).await,
            Action::Compact(objects) => self.write(policy, m, objects, now).await,
            Action::DropBodies | Action::DropMinutes => self.drop_segments(m).await,
            Action::DropHours => self.drop_hours(m).await,
            Action::DropJournal => self.drop_journal(m).await,
            Action::Retire(object) => self.retire(m, object, now).await,
            Action::Delete(object) => self.delete(m, object).await,
        }
    }

    async fn write(
        &self,
        policy: &Policy,
        m: &Move,
        supersedes: &[ObjectRow],
        now: Timestamp,
    ) -> Result<Moved, MoveError> {
        let object = self.write_object(policy, (&m.gateway, &m.range), supersedes, now).await?;
        Ok(Moved { rows: object.samples, bytes: object.bytes, object: Some(object) })
    }

    async fn drop_segments(&self, m: &Move) -> Result<Moved, MoveError> {
        self.require_free(m).await?;
        self.verify_objects(&m.gateway, &m.range).await?;
        let minutes = Minute::of(m.range.start)..Minute::of(m.range.end);
        let mut moved = Moved::default();
        loop {
            self.require_free(m).await?;
            let gone = if m.action == Action::DropMinutes {
                self.tiers.drop_segments(self.tenant, &m.gateway, minutes.clone(), DROP_STEP).await?
            } else {
                self.tiers.drop_bodies(self.tenant, &m.gateway, minutes.clone(), DROP_STEP).await?
            };
            if !moved.add(gone) {
                return Ok(moved);
            }
        }
    }

    async fn drop_hours(&self, m: &Move) -> Result<Moved, MoveError> {
        let hours = Hour::of(m.range.start)..Hour::of(m.range.end);
        let mut moved = Moved::default();
        loop {
            self.require_free(m).await?;
            let gone = self.tiers.drop_hours(self.tenant, &m.gateway, hours.clone(), DROP_STEP).await?;
            if !moved.add(gone) {
                return Ok(moved);
            }
        }
    }

    async fn drop_journal(&self, m: &Move) -> Result<Moved, MoveError> {
        let (mut moved, mut start) = (Moved::default(), m.range.start);
        while start < m.range.end {
            self.require_free(m).await?;
            let day = start..start.plus(DAY);
            start = day.end;
            moved.add(self.policies.drop_journal(self.tenant, &m.gateway, day).await?);
        }
        Ok(moved)
    }

    async fn retire(&self, m: &Move, object: &ObjectRow, now: Timestamp) -> Result<Moved, MoveError> {
        self.require_free(m).await?;
        self.tiers.retire_objects(self.tenant, vec![object.id], now).await?;
        Ok(Moved { rows: object.samples, bytes: object.bytes, object: None })
    }

    /// First the bytes, then the entry: what is left behind in between is still known.
    async fn delete(&self, m: &Move, object: &ObjectRow) -> Result<Moved, MoveError> {
        if object.state != ObjectState::Writing {
            self.require_free(m).await?;
        }
        self.archive.delete(self.tenant, &object.path).await?;
        self.tiers.forget_object(self.tenant, object.id).await?;
        Ok(Moved { rows: object.samples, bytes: object.bytes, object: None })
    }

    /// A hold that was placed after the plan was made counts.
    async fn require_free(&self, m: &Move) -> Result<(), MoveError> {
        let holds = self.policies.holds(self.tenant).await?;
        if holds.iter().any(|hold| hold.covers(&m.gateway, &m.range)) { Err(MoveError::Held) } else { Ok(()) }
    }

    /// Reads all objects of a range and compares them with their entries.
    async fn verify_objects(&self, gateway: &GatewayId, range: &Range<Timestamp>) -> Result<(), MoveError> {
        let objects = self.tiers.objects(self.tenant, Some(gateway), range.clone()).await?;
        for object in objects.iter().filter(|object| object.state == ObjectState::Verified) {
            self.verify(object).await?;
        }
        Ok(())
    }

    /// Reads an object back and compares it with its entry.
    ///
    /// # Errors
    /// It cannot be read, or is something else.
    pub async fn verify(&self, object: &ObjectRow) -> Result<ObjectFacts, MoveError> {
        let found = self.archive.verify(self.tenant, object).await?.object;
        let same = [
            ("hashes", found.sha256 == object.sha256),
            ("sizes", found.bytes == object.bytes),
            ("numbers of samples", found.contents.samples() == object.samples),
            ("directories", found.directory == object.directory),
        ];
        match same.into_iter().find(|(_, same)| !same) {
            Some((what, _)) => {
                Err(MoveError::Differs { path: object.path.clone(), expected: "its entry says", what })
            }
            None => Ok(found),
        }
    }

    /// The paths of objects in the archive that the manifest does not name: nobody relies on them.
    ///
    /// # Errors
    /// One of the two lists cannot be read.
    pub async fn strays(&self) -> Result<Vec<String>, MoveError> {
        let stored = self.archive.list(self.tenant).await?;
        let all = Timestamp::from_micros(i64::MIN)..Timestamp::from_micros(i64::MAX);
        let named = self.tiers.objects(self.tenant, None, all).await?;
        let named: BTreeSet<String> = named.into_iter().map(|object| object.path).collect();
        Ok(stored.into_iter().map(|object| object.path).filter(|path| !named.contains(path)).collect())
    }
}

impl Moved {
    /// Adds what a step did; answers whether there was anything.
    fn add(&mut self, gone: Dropped) -> bool {
        self.rows += gone.rows;
        self.bytes += gone.bytes;
        gone.rows > 0
    }
}
