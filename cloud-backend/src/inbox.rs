//! The inbox of one tenant: what waits for its worker, bounded in messages and in bytes, and in bytes over all
//! tenants.

use std::sync::Arc;

use bytes::Bytes;
use ingestion::{GatewayIdentity, Receipt};
use plant_model::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::books::Entry;

/// Messages that wait for one tenant: sixty gateways with all sixteen places taken.
const WAITING_MESSAGES: usize = 1_024;
/// Bytes that wait for one tenant. A batch is some 4 KB; the worst case of a message is a MiB.
const WAITING_BYTES: usize = 32 << 20;
/// Bytes that wait for all tenants: what a stalled store may cost the program, whoever its tenants are.
const WAITING_BYTES_OF_ALL: usize = 96 << 20;
/// Messages of one transaction: enough that its one flush to disk is shared by many.
const GROUP_MESSAGES: usize = 256;
/// Bytes of one transaction: bounds how long it holds the writer.
const GROUP_BYTES: usize = 8 << 20;

/// What a durable message is.
#[derive(Debug)]
pub(crate) enum Kind {
    Hello,
    Catalogue,
    Stream(Entry),
}

/// A message that waits for the store.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) identity: GatewayIdentity,
    pub(crate) kind: Kind,
    pub(crate) payload: Bytes,
    pub(crate) receipt: Receipt,
    pub(crate) received_at: Timestamp,
}

struct Held<M> {
    message: M,
    size_bytes: usize,
    _space: [OwnedSemaphorePermit; 2],
}

/// Room for what waits, of all tenants together.
#[derive(Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(WAITING_BYTES_OF_ALL)))
    }
}

/// Where messages go in.
pub(crate) struct Inbox<M> {
    sender: mpsc::Sender<Held<M>>,
    space: Arc<Semaphore>,
    room: Room,
}

/// Where groups come out.
pub(crate) struct Outlet<M> {
    receiver: mpsc::Receiver<Held<M>>,
    /// Taken out, and too large for the group before.
    next: Option<Held<M>>,
}

/// A new, empty inbox.
pub(crate) fn inbox<M>(room: Room) -> (Inbox<M>, Outlet<M>) {
    let (sender, receiver) = mpsc::channel(WAITING_MESSAGES);
    let space = Arc::new(Semaphore::new(WAITING_BYTES));
    (Inbox { sender, space, room }, Outlet { receiver, next: None })
}

impl<M> Inbox<M> {
    /// Puts a message in, without waiting.
    ///
    /// # Errors
    /// There is no room: the message comes back.
    pub(crate) fn put(&self, message: M, size_bytes: usize) -> Result<(), M> {
        let permits = u32::try_from(size_bytes).unwrap_or(u32::MAX);
        let take = |space: &Arc<Semaphore>| Arc::clone(space).try_acquire_many_owned(permits);
        let (Ok(own), Ok(of_all)) = (take(&self.space), take(&self.room.0)) else { return Err(message) };
        let held = Held { message, size_bytes, _space: [own, of_all] };
        self.sender.try_send(held).map_err(|refused| refused.into_inner().message)
    }

    /// Whether nobody takes messages out any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl<M> Outlet<M> {
    /// Waits for a message and takes with it what is waiting, up to the size of a group. `None`: the inbox
    /// is closed and empty.
    pub(crate) async fn group(&mut self) -> Option<Vec<M>> {
        let first = match self.next.take() {
            Some(held) => held,
            None => self.receiver.recv().await?,
        };
        let mut size = first.size_bytes;
        let mut group = vec![first.message];
        while group.len() < GROUP_MESSAGES {
            let Ok(held) = self.receiver.try_recv() else { break };
            size += held.size_bytes;
            if size > GROUP_BYTES {
                self.next = Some(held);
                break;
            }
            group.push(held.message);
        }
        Some(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn groups_are_bounded_and_keep_the_order_of_messages() {
        let (inbox, mut outlet) = inbox(Room::new());
        for n in 0..300 {
            assert_eq!(inbox.put(n, 10), Ok(()));
        }
        drop(inbox);
        assert_eq!(outlet.group().await, Some((0..256).collect()));
        assert_eq!(outlet.group().await, Some((256..300).collect()));
        assert_eq!(outlet.group().await, None);
    }

    #[tokio::test]
    async fn a_group_ends_before_it_is_too_large_and_nothing_is_left_out() {
        let (inbox, mut outlet) = inbox(Room::new());
        for (n, size) in [(1, 5 << 20), (2, 3 << 20), (3, 1), (4, 1)] {
            assert_eq!(inbox.put(n, size), Ok(()));
        }
        assert_eq!(outlet.group().await, Some(vec![1, 2]));
        assert_eq!(outlet.group().await, Some(vec![3, 4]));
    }

    #[tokio::test]
    async fn a_full_inbox_refuses_and_has_room_again_when_some_is_taken_out() {
        let (inbox, mut outlet) = inbox(Room::new());
        let taken = (0..).take_while(|n| inbox.put(*n, 1 << 20).is_ok()).count();
        assert_eq!(taken, 32, "32 MiB");
        assert_eq!(inbox.put(99, 1), Err(99));
        assert_eq!(outlet.group().await.map(|group| group.len()), Some(8), "8 MiB");
        assert_eq!(inbox.put(99, 1), Ok(()));

        let (inbox, _outlet) = super::inbox(Room::new());
        assert_eq!((0..).take_while(|n| inbox.put(*n, 0).is_ok()).count(), WAITING_MESSAGES);
    }

    #[tokio::test]
    async fn in4_what_waits_for_all_tenants_together_is_bounded() {
        let room = Room::new();
        let tenants: Vec<_> = (0..10).map(|_| inbox(room.clone())).collect();
        let fill =
            |(inbox, _): &(Inbox<usize>, _)| (0..).take_while(|n| inbox.put(*n, 1 << 20).is_ok()).count();
        let taken: Vec<usize> = tenants.iter().map(fill).collect();
        assert_eq!(taken, [32, 32, 32, 0, 0, 0, 0, 0, 0, 0], "MiB");
        let (_, mut outlet) = tenants.into_iter().next().expect("ten");
        assert_eq!(outlet.group().await.map(|group| group.len()), Some(8));
        drop(outlet);
        let late = inbox(room);
        assert_eq!(fill(&late), 32, "room that was given back is there for others");
    }
}
