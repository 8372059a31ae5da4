//! What the uplink sees of the buffer: requests to the writer thread, and what is held.

use plant_model::{MachineId, TagId, Timestamp};
use protocol::{Sequence, SeriesId, StreamId, StreamRange};
use tokio::sync::{oneshot, watch};

use crate::inbox::SampleInbox;
use crate::timers::Source;
use crate::{Facts, StoreError, StoredAlarm, StoredBatch, StoredCommand, Tally};

/// How alarms stood, and the commands that moved them.
pub type Remembered = (Vec<StoredAlarm>, Vec<StoredCommand>);

/// What the writer is asked for.
#[derive(Debug)]
pub(crate) enum Request {
    Read {
        stream: StreamId,
        from: Sequence,
        reply: oneshot::Sender<Result<Option<StoredBatch>, StoreError>>,
    },
    Acknowledge {
        stream: StreamId,
        through: Sequence,
    },
    /// Note what runs from here on.
    NoteTimers {
        running: Source,
    },
    /// A batch is larger than the broker takes.
    Divide {
        stream: StreamId,
        sequence: Sequence,
        bytes_max: usize,
    },
    /// Number the tags of machines.
    Series {
        machines: Vec<(MachineId, Vec<TagId>)>,
        reply: oneshot::Sender<Result<Vec<Vec<SeriesId>>, StoreError>>,
    },
    /// How alarms stood, and which commands moved them.
    Remembered {
        reply: oneshot::Sender<Result<Remembered, StoreError>>,
    },
    /// Count a part of a stream.
    Tally {
        stream: StreamId,
        from: Sequence,
        recent: Timestamp,
        reply: oneshot::Sender<Result<Tally, StoreError>>,
    },
    /// What the buffer says of itself.
    Facts {
        reply: oneshot::Sender<Result<(Facts, [Sequence; StreamId::ALL.len()]), StoreError>>,
    },
    /// It is known when the system was booted.
    KnowTime {
        booted_at: Timestamp,
    },
    /// Commit what waits, whatever the interval says.
    Flush {
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
}

/// The uplink's view of the buffer.
#[derive(Debug, Clone)]
pub struct StoreClient {
    pub(crate) inbox: SampleInbox,
    pub(crate) ranges: watch::Receiver<[StreamRange; StreamId::ALL.len()]>,
}

impl StoreClient {
    /// What is held of every stream; changes after each commit.
    #[must_use]
    pub fn ranges(&self) -> watch::Receiver<[StreamRange; StreamId::ALL.len()]> {
        self.ranges.clone()
    }

    /// The batch at or after `from`, if one is held.
    ///
    /// # Errors
    /// The file cannot be read, or the recorder has stopped.
    pub async fn read(&self, stream: StreamId, from: Sequence) -> Result<Option<StoredBatch>, StoreError> {
        let (reply, answer) = oneshot::channel();
        if !self.inbox.push_request(Request::Read { stream, from, reply }) {
            return Err(StoreError::Closed);
        }
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Commits the samples that wait, whatever the interval says.
    ///
    /// # Errors
    /// They cannot be committed now, or the recorder has stopped.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        if !self.inbox.push_request(Request::Flush { reply }) {
            return Err(StoreError::Closed);
        }
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Counts a part of a stream from a number on; `recent` sets apart what was committed since then.
    ///
    /// # Errors
    /// The file cannot be read, or the recorder has stopped.
    pub async fn tally(
        &self,
        stream: StreamId,
        from: Sequence,
        recent: Timestamp,
    ) -> Result<Tally, StoreError> {
        let (reply, answer) = oneshot::channel();
        if !self.inbox.push_request(Request::Tally { stream, from, recent, reply }) {
            return Err(StoreError::Closed);
        }
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The series numbers of the tags of machines, each in its order; new tags get new numbers.
    ///
    /// # Errors
    /// The file cannot be written, or the recorder has stopped.
    pub async fn series(
        &self,
        machines: Vec<(MachineId, Vec<TagId>)>,
    ) -> Result<Vec<Vec<SeriesId>>, StoreError> {
        let (reply, answer) = oneshot::channel();
        if !self.inbox.push_request(Request::Series { machines, reply }) {
            return Err(StoreError::Closed);
        }
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// How every alarm stood when its last transition was committed, and the newest commands that moved alarms, as
    /// [`crate::EdgeStore::alarms`] and [`crate::EdgeStore::commands`] tell them.
    ///
    /// # Errors
    /// The file cannot be read, or the recorder has stopped.
    pub async fn remembered(&self) -> Result<Remembered, StoreError> {
        let (reply, answer) = oneshot::channel();
        if !self.inbox.push_request(Request::Remembered { reply }) {
            return Err(StoreError::Closed);
        }
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// What the buffer says of itself, and the backend's watermarks in the order of [`StreamId::ALL`].
    ///
    /// # Errors
    /// The file cannot be read, or the recorder has stopped.
    pub async fn facts(&self) -> Result<(Facts, [Sequence; StreamId::ALL.len()]), StoreError> {
        let (reply, answer) = oneshot::channel();
        if !self.inbox.push_request(Request::Facts { reply }) {
            return Err(StoreError::Closed);
        }
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// It is known when the system was booted: what was committed before gets its time. Says whether the recorder
    /// has taken note.
    #[must_use]
    pub fn know_time(&self, booted_at: Timestamp) -> bool {
        self.inbox.push_request(Request::KnowTime { booted_at })
    }

    /// Replaces a batch that the broker does not take by smaller ones.
    pub fn divide(&self, stream: StreamId, sequence: Sequence, bytes_max: usize) {
        self.inbox.push_request(Request::Divide { stream, sequence, bytes_max });
    }

    /// Notes the backend's watermark. Losing this note costs a resend, not data.
    pub fn acknowledge(&self, stream: StreamId, through: Sequence) {
        self.inbox.push_request(Request::Acknowledge { stream, through });
    }
}
