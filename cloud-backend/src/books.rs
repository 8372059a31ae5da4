//! The books of this process: what became of every message of every gateway since the start.
//!
//! A message is entered when it comes and its [`Entry`] is closed when its fate is known; an entry that is
//! dropped before was left unanswered, and its message comes again. So for each gateway and stream, at
//! every moment:
//!
//! ```text
//! received = stored + duplicate + rejected + unanswered + waiting
//! ```
//!
//! The store keeps the ledger of all times, which only knows what was answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ingestion::{Fate, GatewayIdentity};
use protocol::StreamId;

/// What became of the messages of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Page {
    pub(crate) received: u64,
    pub(crate) stored: u64,
    pub(crate) duplicate: u64,
    pub(crate) rejected: BTreeMap<&'static str, u64>,
    pub(crate) unanswered: u64,
    pub(crate) waiting: u64,
}

impl Page {
    fn close(&mut self, fate: Option<Fate>) {
        self.waiting -= 1;
        match fate {
            Some(Fate::Stored) => self.stored += 1,
            Some(Fate::Duplicate) => self.duplicate += 1,
            Some(Fate::Quarantined { reason } | Fate::Refused { reason }) => {
                *self.rejected.entry(reason).or_default() += 1;
            }
            None => self.unanswered += 1,
        }
    }
}

/// Whose page it is.
pub(crate) type PageKey = (GatewayIdentity, StreamId);

/// The pages; as many as gateways were heard of since the start, times three.
#[derive(Debug, Default)]
pub(crate) struct Books(Mutex<BTreeMap<PageKey, Arc<Mutex<Page>>>>);

impl Books {
    /// A message came.
    pub(crate) fn enter(&self, identity: &GatewayIdentity, stream: StreamId) -> Entry {
        let page = Arc::clone(lock(&self.0).entry((identity.clone(), stream)).or_default());
        {
            let mut page = lock(&page);
            page.received += 1;
            page.waiting += 1;
        }
        Entry { page, stream, fate: None }
    }

    /// All pages as they stand, each of one moment.
    pub(crate) fn pages(&self) -> Vec<(PageKey, Page)> {
        let pages: Vec<_> = lock(&self.0).iter().map(|(key, page)| (key.clone(), Arc::clone(page))).collect();
        pages.into_iter().map(|(key, page)| (key, lock(&page).clone())).collect()
    }
}

/// A message whose fate is not known yet.
#[derive(Debug)]
#[must_use = "a message that is dropped counts as unanswered"]
pub(crate) struct Entry {
    page: Arc<Mutex<Page>>,
    stream: StreamId,
    fate: Option<Fate>,
}

impl Entry {
    pub(crate) const fn stream(&self) -> StreamId {
        self.stream
    }

    /// The message met its fate.
    pub(crate) fn close(mut self, fate: Fate) {
        self.fate = Some(fate);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.page).close(self.fate);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use plant_model::{GatewayId, TenantId};

    use super::*;

    #[test]
    fn every_message_is_on_its_page_exactly_once_and_a_dropped_one_is_unanswered() {
        let books = Books::default();
        let gateway = |name| GatewayIdentity {
            tenant: TenantId::new("acme").expect("valid"),
            gateway: GatewayId::new(name).expect("valid"),
        };
        let mut open: Vec<Entry> =
            (0..6).map(|_| books.enter(&gateway("gw-1"), StreamId::Telemetry)).collect();
        books.enter(&gateway("gw-2"), StreamId::Alarm).close(Fate::Stored);
        let mut next = || open.pop().expect("six were entered");
        next().close(Fate::Stored);
        next().close(Fate::Duplicate);
        next().close(Fate::Quarantined { reason: "crc" });
        next().close(Fate::Refused { reason: "crc" });
        drop(next());
        let pages = books.pages();
        let expected = Page {
            received: 6,
            stored: 1,
            duplicate: 1,
            rejected: BTreeMap::from([("crc", 2)]),
            unanswered: 1,
            waiting: 1,
        };
        assert_eq!(pages[0], ((gateway("gw-1"), StreamId::Telemetry), expected));
        assert_eq!(pages[1].1, Page { received: 1, stored: 1, ..Page::default() });
    }
}
