//! The parts of the table of bodies: each minute finds one, and one that is empty goes.

use segments::Minute;
use tiering::{ObjectId, ObjectRow, ObjectState, Revision, TierStore};

use crate::conformance::fixture::*;
use crate::conformance::tiers::{batch_at, plant, seal_through, shown};
use crate::{Database, Server, runtime};

const TELEMETRY: protocol::StreamId = protocol::StreamId::Telemetry;
const WEEK: i64 = 7 * 86_400_000_000;
const PARTS: &str = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'segment_body'::regclass";

/// The parts that there are from the beginning: of clocks that are far off.
const FIXED: usize = 2;

fn parts(server: &Server, database: &Database) -> usize {
    let count = tokio::task::block_in_place(|| server.sql(&database.name, PARTS));
    count.parse().expect("a number")
}

/// Everything of the gateway is in an object.
async fn archive(store: &impl TierStore) {
    let object = ObjectRow {
        id: ObjectId(0),
        gateway: gateway(),
        start: at(-100 * WEEK),
        end: at(100 * WEEK),
        path: "all".to_owned(),
        state: ObjectState::Writing,
        samples: 1,
        bytes: 1,
        sha256: [7; 32],
        directory: bytes::Bytes::new(),
        changed_at: at(0),
    };
    let id = store.begin_object(&tenant(), object.clone()).await.expect("works");
    let as_of = store.revision(&tenant(), &gateway()).await.expect("works");
    store.commit_object(&tenant(), ObjectRow { id, ..object }, as_of, vec![]).await.expect("works");
}

#[test]
fn late_data_of_any_time_find_their_part_and_a_part_that_is_empty_goes() {
    let server = Server::start();
    let database = Database::new(&server);
    runtime().block_on(async {
        let store = plant(&database).await;
        let far = i64::MAX - T0;
        let times = [i64::MIN / 2, -60 * WEEK, -WEEK, 0, far / 2];
        let batches = (1..).zip(times).map(|(sequence, at)| batch_at(EPOCH, sequence, &[at]));
        send(&*store, TELEMETRY, batches.collect::<Vec<_>>()).await;
        seal_through(&*store, EPOCH, 5, None).await.expect("each has its place");
        assert_eq!(parts(&server, &database), FIXED + 3);
        let near: Vec<_> = shown(&*store).await;
        archive(&*store).await;
        let all = Minute::of(at(-50 * WEEK))..Minute::of(at(50 * WEEK));
        let dropped = store.drop_bodies(&tenant(), &gateway(), all, 1).await.expect("works");
        assert_eq!((dropped.rows, parts(&server, &database)), (1, FIXED + 2), "the oldest of the range");
        let left = shown(&*store).await;
        assert_eq!(left.len() + 1, near.len(), "{left:?}");
    });
}

#[test]
fn a_part_stays_as_long_as_any_tenant_has_something_in_it() {
    let server = Server::start();
    let database = Database::new(&server);
    runtime().block_on(async {
        let store = plant(&database).await;
        send(&*store, TELEMETRY, [batch_at(EPOCH, 1, &[0])]).await;
        seal_through(&*store, EPOCH, 1, None).await.expect("sealed");
        let week = "SELECT floor(minute / 10080.0)::bigint FROM segment";
        let week = tokio::task::block_in_place(|| server.sql(&database.name, week));
        let other = "INSERT INTO segment_body SELECT 'other', gateway, machine, minute, is_late, head, body FROM segment_body";
        tokio::task::block_in_place(|| server.sql(&database.name, other));
        archive(&*store).await;
        let all = Minute::of(at(-WEEK))..Minute::of(at(WEEK));
        store.drop_bodies(&tenant(), &gateway(), all, 9).await.expect("works");
        assert_eq!(parts(&server, &database), FIXED + 1, "the owner of the tables does not see it, but it is there");
        let forced = "SELECT bool_and(relforcerowsecurity) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'segment_body_2%'";
        let empty = format!(
            "DELETE FROM segment_body; SELECT drop_segment_body_part_if_empty({week}); {PARTS}"
        );
        assert_eq!(tokio::task::block_in_place(|| server.sql(&database.name, forced)), "t");
        let dropped = tokio::task::block_in_place(|| server.sql(&database.name, &empty));
        assert_eq!(dropped, format!("t\n{FIXED}"));
        assert_eq!(store.revision(&tenant(), &gateway()).await.expect("works"), Revision(3));
    });
}
