//! What goes ahead of the batches: alarm transitions as they are decided, and answers to commands.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use delivery::Replay;
use plant_model::Timestamp;

/// What a port answers with.
pub type UrgentFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A message that waits for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrgentMessage {
    /// A live message with transitions, sent with QoS 0: an acknowledgement of it would only take a place
    /// from the batches, which carry the same again.
    Transitions(Vec<u8>),
    /// The result of a command, sent with QoS 1.
    Result(Vec<u8>),
}

/// The port of what is urgent. Its calls never wait: what does not fit is dropped there, by its rules.
pub trait Urgent: Send + Sync {
    /// A connection stands. What gathered while there was none is on its way with the batches.
    fn connected(&self);

    /// The next message, if there is one.
    fn next(&self) -> Option<UrgentMessage>;

    /// The transport has taken the message that [`Self::next`] gave last.
    fn sent(&self);

    /// Waits until there may be a message; it may end for nothing.
    fn changed(&self) -> UrgentFuture<'_, ()>;

    /// The backend has said what time it was, `round_trip` after hello.
    fn time_told(&self, at: Timestamp, round_trip: Duration);

    /// A command has come.
    fn command(&self, message: &[u8]);

    /// Acknowledged batches that somebody asks for again, once.
    fn replay(&self) -> Option<Replay>;
}
