//! The buffer and the board, as the uplink sees them.

use std::sync::Arc;

use delivery::{Outbox, OutboxBatch, OutboxError, OutboxFuture};
use edge_store::StoreClient;
use protocol::{Epoch, Sequence, StreamId, StreamRange};
use service_kit::Clock;
use tokio::sync::watch;
use uplink_mqtt::Sidecar;

use crate::board::Board;
use crate::lane::placed;
use crate::latency::AlarmLatency;

/// The outbox of the store.
pub(crate) struct StoreOutbox {
    epoch: Epoch,
    client: StoreClient,
    ranges: watch::Receiver<[StreamRange; StreamId::ALL.len()]>,
    latency: Arc<AlarmLatency>,
    clock: Clock,
}

impl StoreOutbox {
    pub(crate) fn new(epoch: Epoch, client: StoreClient, latency: Arc<AlarmLatency>, clock: Clock) -> Self {
        let ranges = client.ranges();
        Self { epoch, client, ranges, latency, clock }
    }
}

impl Outbox for StoreOutbox {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn held(&mut self) -> [StreamRange; StreamId::ALL.len()] {
        *self.ranges.borrow_and_update()
    }

    fn changed(&mut self) -> OutboxFuture<'_, ()> {
        Box::pin(async {
            if self.ranges.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    fn read(
        &self,
        stream: StreamId,
        from: Sequence,
    ) -> OutboxFuture<'_, Result<Option<OutboxBatch>, OutboxError>> {
        Box::pin(async move {
            let found = self.client.read(stream, from).await.map_err(|e| OutboxError(e.to_string()))?;
            Ok(found.map(|b| OutboxBatch { sequence: b.sequence, message: b.message }))
        })
    }

    fn acknowledge(&self, stream: StreamId, through: Sequence) {
        if stream == StreamId::Alarm {
            self.latency.acknowledged(through, self.clock.now());
        }
        self.client.acknowledge(stream, through);
    }

    fn refuse(&self, stream: StreamId, sequence: Sequence, bytes_max: usize) {
        self.client.divide(stream, sequence, bytes_max);
    }
}

/// Catalogue and live values.
pub(crate) struct BoardSidecar {
    pub board: Board,
    pub clock: Clock,
    /// The catalogue that was told last.
    pub told: Arc<[u8]>,
}

impl BoardSidecar {
    pub(crate) fn new(board: Board, clock: Clock) -> Self {
        Self { board, clock, told: Arc::default() }
    }
}

impl Sidecar for BoardSidecar {
    fn catalogue(&mut self) -> Vec<u8> {
        // Asked for once a connection: the backend may have forgotten what it was told before.
        self.board.refresh();
        self.told = Arc::clone(&self.board.shown().catalogue);
        self.told.to_vec()
    }

    fn new_catalogue(&mut self) -> Option<Vec<u8>> {
        let now = Arc::clone(&self.board.shown().catalogue);
        let is_new = !Arc::ptr_eq(&now, &self.told) && now != self.told;
        self.told = now;
        is_new.then(|| self.told.to_vec())
    }

    fn live(&mut self) -> Option<Vec<u8>> {
        Some(placed(self.board.live(self.clock.wall()), self.clock).encode())
    }
}
