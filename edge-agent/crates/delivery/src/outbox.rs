//! The port through which an uplink reaches the buffer.

use std::future::Future;
use std::pin::Pin;

use protocol::{Epoch, Sequence, StreamId, StreamRange};
use thiserror::Error;

/// What a port answers with.
pub type OutboxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The buffer could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the buffer cannot be read: {0}")]
pub struct OutboxError(pub String);

/// A batch, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxBatch {
    /// Its position in its stream.
    pub sequence: Sequence,
    /// The message.
    pub message: Vec<u8>,
}

/// A buffer of committed batches.
pub trait Outbox: Send + Sync {
    /// The life of the buffer.
    fn epoch(&self) -> Epoch;

    /// What is held now, and from here on [`Self::changed`] waits for something newer.
    fn held(&mut self) -> [StreamRange; StreamId::ALL.len()];

    /// Waits until something is held that [`Self::held`] has not shown; for ever if nothing will be.
    fn changed(&mut self) -> OutboxFuture<'_, ()>;

    /// The batch at or after `from`, if one is held.
    fn read(
        &self,
        stream: StreamId,
        from: Sequence,
    ) -> OutboxFuture<'_, Result<Option<OutboxBatch>, OutboxError>>;

    /// The backend holds the stream up to here; losing this note costs a resend.
    fn acknowledge(&self, stream: StreamId, through: Sequence);

    /// The transport takes no message larger than `bytes_max`, and this batch is: it is to be divided, or
    /// taken out of its stream and reported.
    fn refuse(&self, stream: StreamId, sequence: Sequence, bytes_max: usize);
}
