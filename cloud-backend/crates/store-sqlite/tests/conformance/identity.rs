//! `received = stored + duplicate + rejected`, and the watermark, against a model that is a set of
//! numbers, for arrivals in any order and groups of any size.

use std::collections::BTreeSet;

use ingestion::Fate;
use proptest::prelude::*;
use protocol::StreamId;

use super::Laboratory;
use super::fixture::*;

const TELEMETRY: StreamId = StreamId::Telemetry;

/// Something that arrives.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Telemetry batch of this number.
    Batch(u64),
    /// The same with an unreadable body.
    Torn(u64),
    /// Something without a header.
    Garbage,
    /// A gap record for so many telemetry batches from this number on.
    Gap(u64, u64),
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![
        6 => (1_u64..16).prop_map(Step::Batch),
        2 => (1_u64..16).prop_map(Step::Torn),
        1 => Just(Step::Garbage),
        1 => (1_u64..16, 0_u64..3).prop_map(|(first, more)| Step::Gap(first, more)),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..6), 1..8)
}

/// The rules in their plainest form.
#[derive(Default)]
struct Model {
    held: BTreeSet<u64>,
    put_aside: BTreeSet<u64>,
    given_up: BTreeSet<u64>,
    stored: u64,
    duplicate: u64,
    rejected: u64,
    garbage: u64,
    diagnostics: u64,
}

impl Model {
    fn take(&mut self, step: &Step) -> (StreamId, Vec<u8>, Fate) {
        match step {
            Step::Batch(n) | Step::Torn(n) if self.held.contains(n) || self.put_aside.contains(n) => {
                self.duplicate += 1;
                let bytes = if matches!(step, Step::Torn(_)) { torn(telemetry(*n)) } else { telemetry(*n) };
                (TELEMETRY, bytes, Fate::Duplicate)
            }
            Step::Batch(n) => {
                self.stored += 1;
                self.held.insert(*n);
                (TELEMETRY, telemetry(*n), Fate::Stored)
            }
            Step::Torn(n) => {
                self.rejected += 1;
                self.put_aside.insert(*n);
                (TELEMETRY, torn(telemetry(*n)), Fate::Quarantined { reason: "compression" })
            }
            Step::Garbage => {
                self.garbage += 1;
                (TELEMETRY, b"garbage".to_vec(), Fate::Refused { reason: "unknown_container" })
            }
            Step::Gap(first, more) => {
                self.given_up.extend(*first..=first + more);
                self.diagnostics += 1;
                let record = gap(TELEMETRY, *first, first + more);
                (StreamId::Diagnostic, diagnostic(self.diagnostics, vec![record]), Fate::Stored)
            }
        }
    }

    fn committed_through(&self) -> u64 {
        let known =
            |n: &u64| self.held.contains(n) || self.put_aside.contains(n) || self.given_up.contains(n);
        (1..).take_while(known).last().unwrap_or(0)
    }
}

/// Plays the groups on a store and on the model; they agree after every group and after opening again.
pub(crate) async fn the_ledger_balances_whatever_arrives(lab: &impl Laboratory, groups: &[Vec<Step>]) {
    let mut model = Model::default();
    let mut store = lab.open();
    add_tenant(&*store).await;
    for (number, group) in groups.iter().enumerate() {
        let (mut messages, mut expected) = (Vec::new(), Vec::new());
        for step in group {
            let (stream, bytes, fate) = model.take(step);
            messages.push((stream, bytes));
            expected.push(fate);
        }
        let applied =
            ingestion::IngestStore::apply(&*store, &tenant(), set_of(messages)).await.expect("works");
        assert_eq!(applied.fates, expected);
        if number % 3 == 2 {
            drop(store);
            store = lab.open();
        }
        check(&*store, &model).await;
    }
}

async fn check(store: &impl fleet::FleetStore, model: &Model) {
    let rows = store.ledger(&tenant()).await.expect("works");
    let mut seen = (0, 0, 0, 0, 0);
    for row in &rows {
        assert!(row.balances(), "{row:?}");
        let rejected: u64 = row.rejected.iter().map(|(_, n)| n).sum();
        match (row.epoch, row.stream) {
            (None, _) => seen.3 += rejected,
            (Some(_), StreamId::Telemetry) => {
                seen.0 += row.stored;
                seen.1 += row.duplicate;
                seen.2 += rejected;
                assert_eq!(row.committed_through.as_u64(), model.committed_through());
            }
            (Some(_), _) => seen.4 += row.stored,
        }
    }
    assert_eq!(seen, (model.stored, model.duplicate, model.rejected, model.garbage, model.diagnostics));
}
