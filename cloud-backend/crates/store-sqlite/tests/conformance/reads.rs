//! Gateways, machines and samples.

use fleet::{FleetStore, SampleQuery, SampleSet, SeriesData, Shape};
use ingestion::IngestStore;
use plant_model::{GatewayId, MachineId, Sample};
use protocol::{BatchBody, CatalogueMachine, Epoch, GATEWAY_ID, SeriesId, SeriesSamples, StreamId, TagRole};
use tenancy::TenancyStore;

use super::Laboratory;
use super::fixture::*;

const TELEMETRY: StreamId = StreamId::Telemetry;

fn query(tags: &[&str], start: i64, end: i64) -> SampleQuery {
    SampleQuery {
        gateway: gateway(),
        machine: machine(),
        tags: tags.iter().map(|id| tag(id)).collect(),
        start: at(start),
        end: at(end),
        shape: Shape::Raw,
        limit: 1_000,
    }
}

/// Time and value of the samples of the tag at `index`.
fn raw(set: &SampleSet, index: usize) -> Vec<(i64, f64)> {
    let SeriesData::Raw(samples) = &set.tags[index].data else { panic!("reduced") };
    let point = |s: &Sample| {
        let value = s.value.as_ref().and_then(plant_model::Value::as_f64);
        (s.timestamp().micros() - T0, value.expect("a number"))
    };
    samples.iter().map(point).collect()
}

pub(crate) async fn samples_are_found_by_machine_tag_and_time(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let tags = [(1, "pressure", TagRole::Plain), (2, "speed", TagRole::Plain)];
    save_catalogue(&*store, catalogue(EPOCH, &tags), 0).await;
    let block = BatchBody::Samples(vec![
        SeriesSamples {
            series: SeriesId(1),
            samples: vec![sample(10, 1.0), sample(20, 2.0), sample(20, 3.0)],
        },
        SeriesSamples { series: SeriesId(2), samples: vec![sample(10, 7.0)] },
    ]);
    send(&*store, TELEMETRY, [encode(EPOCH, 1, &block), encode(EPOCH, 2, &samples(1, &[(30, 4.0)]))]).await;
    let set =
        store.samples(&tenant(), query(&["speed", "nothing", "pressure"], 10, 30)).await.expect("works");
    let names: Vec<_> = set.tags.iter().map(|t| t.info.tag.as_str()).collect();
    assert_eq!(names, ["speed", "pressure"], "in the order of the query, unknown tags left out");
    assert_eq!(raw(&set, 0), [(10, 7.0)]);
    assert_eq!(raw(&set, 1), [(10, 1.0), (20, 2.0), (20, 3.0)], "both samples of one instant");
    let mut elsewhere = query(&["pressure"], 0, 100);
    elsewhere.machine = MachineId::new("press-2").expect("valid");
    assert_eq!(store.samples(&tenant(), elsewhere).await.expect("works").tags, []);
}

pub(crate) async fn samples_of_hundreds_of_batches_are_all_found_in_order(lab: &impl Laboratory) {
    const BATCHES: u64 = 200;
    let store = lab.open();
    add_tenant(&*store).await;
    let tags = [(1, "pressure", TagRole::Plain), (2, "speed", TagRole::Plain)];
    save_catalogue(&*store, catalogue(EPOCH, &tags), 0).await;
    let seldom = encode(EPOCH, 1, &samples(2, &[(1_000_000, 7.0)]));
    let often = (2..=BATCHES).map(telemetry);
    send(&*store, TELEMETRY, std::iter::once(seldom).chain(often)).await;
    let set = store.samples(&tenant(), query(&["pressure"], 0, i64::MAX / 2)).await.expect("works");
    let expected: Vec<_> = (2..=200).map(|n| (i64::from(n) * 1_000_000, f64::from(n))).collect();
    assert_eq!(raw(&set, 0), expected);
    let latest = store.latest_samples(&tenant()).await.expect("works");
    assert_eq!(latest[0].samples.len(), 2, "the one that came seldom is behind many others: {latest:?}");
}

pub(crate) async fn late_and_long_batches_are_in_their_place_in_time(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    save_catalogue(&*store, catalogue(EPOCH, &[(1, "pressure", TagRole::Plain)]), 0).await;
    let batches = [
        encode(EPOCH, 1, &samples(1, &[(500, 5.0), (600, 6.0)])),
        encode(EPOCH, 2, &samples(1, &[(100, 1.0), (900, 9.0)])),
        encode(EPOCH, 3, &samples(1, &[(50, 0.5)])),
    ];
    send(&*store, TELEMETRY, batches).await;
    let of = |start, end| query(&["pressure"], start, end);
    let all = store.samples(&tenant(), of(0, 1_000)).await.expect("works");
    assert_eq!(raw(&all, 0), [(50, 0.5), (100, 1.0), (500, 5.0), (600, 6.0), (900, 9.0)]);
    let early = store.samples(&tenant(), of(100, 101)).await.expect("works");
    assert_eq!(raw(&early, 0), [(100, 1.0)], "of a batch that ends long after the range");
    let last = store.samples(&tenant(), of(900, 901)).await.expect("works");
    assert_eq!(raw(&last, 0), [(900, 9.0)], "of a batch that ends where the range begins");
}

pub(crate) async fn a_tag_keeps_its_history_over_epochs_with_other_series_numbers(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let second = Epoch::from_u64(2);
    save_catalogue(
        &*store,
        catalogue(EPOCH, &[(1, "pressure", TagRole::Plain), (2, "speed", TagRole::Plain)]),
        0,
    )
    .await;
    send(&*store, TELEMETRY, [encode(EPOCH, 1, &samples(1, &[(10, 1.0)]))]).await;
    save_catalogue(
        &*store,
        catalogue(second, &[(2, "pressure", TagRole::Headline), (1, "speed", TagRole::Plain)]),
        1,
    )
    .await;
    send(&*store, TELEMETRY, [encode(second, 1, &samples(2, &[(20, 2.0)]))]).await;
    let set = store.samples(&tenant(), query(&["pressure"], 0, 100)).await.expect("works");
    assert_eq!(raw(&set, 0), [(10, 1.0), (20, 2.0)]);
    assert_eq!(set.tags[0].info.role, TagRole::Headline, "described as it was last");
}

pub(crate) async fn a_tag_that_was_removed_keeps_its_history(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    save_catalogue(&*store, catalogue(EPOCH, &[(1, "pressure", TagRole::Plain)]), 0).await;
    send(&*store, TELEMETRY, [encode(EPOCH, 1, &samples(1, &[(10, 1.0)]))]).await;
    save_catalogue(&*store, catalogue(EPOCH, &[(2, "speed", TagRole::Plain)]), 1).await;
    let set = store.samples(&tenant(), query(&["pressure"], 0, 100)).await.expect("works");
    assert_eq!(raw(&set, 0), [(10, 1.0)]);
    let machines = store.machines(&tenant()).await.expect("works");
    assert_eq!(machines[0].definition.tags[0].definition.id, tag("speed"), "the machine is as it is now");
}

pub(crate) async fn a_reduced_answer_covers_more_samples_than_it_may_hold(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    save_catalogue(&*store, catalogue(EPOCH, &[(1, "pressure", TagRole::Plain)]), 0).await;
    let batches = (0..20_u32).map(|n| {
        let t = i64::from(n) * 10;
        encode(EPOCH, u64::from(n) + 1, &samples(1, &[(t, f64::from(n)), (t + 5, -f64::from(n))]))
    });
    send(&*store, TELEMETRY, batches).await;
    let wanted = SampleQuery { shape: Shape::Buckets(4), limit: 3, ..query(&["pressure"], 0, 200) };
    let set = store.samples(&tenant(), wanted.clone()).await.expect("works");
    let SeriesData::Buckets(buckets) = &set.tags[0].data else { panic!("not reduced") };
    let extremes: Vec<_> = buckets.iter().map(|b| (b.min, b.max)).collect();
    let expected = [4.0, 9.0, 14.0, 19.0].map(|top| (Some(-top), Some(top)));
    assert_eq!((extremes.as_slice(), set.truncated), (expected.as_slice(), false));
    let set = store.samples(&tenant(), SampleQuery { shape: Shape::Raw, ..wanted }).await.expect("works");
    assert_eq!((raw(&set, 0), set.truncated), (vec![(0, 0.0), (5, 0.0), (10, 1.0)], true));
}

pub(crate) async fn the_latest_samples_are_the_newest_in_time_and_not_in_arrival(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    let tags = [(1, "pressure", TagRole::Plain), (2, "state", TagRole::State)];
    save_catalogue(&*store, catalogue(EPOCH, &tags), 0).await;
    let batches = [
        encode(EPOCH, 1, &samples(2, &[(5, 1.0), (10, 0.0)])),
        encode(EPOCH, 2, &samples(1, &[(80, 8.0)])),
        encode(EPOCH, 3, &samples(2, &[(40, 0.0)])),
        encode(EPOCH, 4, &samples(1, &[(30, 3.0)])),
    ];
    send(&*store, TELEMETRY, batches).await;
    let latest = store.latest_samples(&tenant()).await.expect("works");
    let found: Vec<_> = latest[0]
        .samples
        .iter()
        .map(|l| (l.series.0, l.sample.timestamp().micros() - T0, l.unchanged_since.micros() - T0))
        .collect();
    assert_eq!(found, [(1, 80, 80), (2, 40, 10)]);
    assert_eq!(latest[0].catalogue.epoch, EPOCH);
}

pub(crate) async fn a_gateway_is_listed_from_its_registration_on(lab: &impl Laboratory) {
    let store = lab.open();
    add_tenant(&*store).await;
    store.add_gateway(tenant(), gateway()).await.expect("new");
    let gateways = store.gateways(&tenant()).await.expect("works");
    assert_eq!((gateways.len(), gateways[0].epoch, gateways[0].last_seen_at), (1, None, None));
    let hello = hello(EPOCH, [1, 1, 1], [1, 1, 1]);
    store.record_hello(&tenant(), &gateway(), &hello, at(-5)).await.expect("works");
    let mut all = catalogue(EPOCH, &[(1, "pressure", TagRole::Plain)]);
    let id = MachineId::new(GATEWAY_ID).expect("valid");
    all.machines.push(CatalogueMachine { id, tags: Vec::new(), ..all.machines[0].clone() });
    save_catalogue(&*store, all, -4).await;
    send(&*store, TELEMETRY, [telemetry(1)]).await;
    let gateways = store.gateways(&tenant()).await.expect("works");
    let info = &gateways[0];
    assert_eq!((info.epoch, info.agent_version.as_deref(), info.machines), (Some(EPOCH), Some("0.1.0"), 1));
    assert_eq!(info.last_seen_at, Some(at(0)), "the batch came last");
    let stranger = GatewayId::new("gw-9").expect("valid");
    assert_eq!(store.machine(&tenant(), &stranger, &machine()).await.expect("works"), None);
    let found = store.machine(&tenant(), &gateway(), &machine()).await.expect("works").expect("it is there");
    assert_eq!((found.definition.name.as_str(), found.definition.alarms.len()), ("Press 1", 1));
}
