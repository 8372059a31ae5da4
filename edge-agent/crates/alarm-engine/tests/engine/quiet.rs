use alarm_engine::Link;
use plant_model::*;

use crate::support::*;

/// One alarm of every kind, with delays and a gate.
fn every_kind() -> Vec<AlarmDefinition> {
    let t = || tag("t");
    let conditions = [
        AlarmCondition::Limit { tag: t(), kind: LimitKind::High, limit: 80.0, deadband: 1.0 },
        AlarmCondition::Deviation { tag: t(), from: Setpoint::Tag(tag("u")), limit: 90.0, deadband: 1.0 },
        AlarmCondition::RateOfChange { tag: t(), limit_per_second: 1e6, over: seconds(1), deadband: 1.0 },
        AlarmCondition::OffNormal { tag: tag("state"), normal: NormalState::Values(vec![Value::Int(0)]) },
        AlarmCondition::Stale { tag: t(), after: seconds(1) },
        AlarmCondition::BadQuality { tag: t() },
        AlarmCondition::Communication,
        AlarmCondition::Expression { text: "t > 200 and (state == 1 or not u < 3)".into() },
    ];
    let define = |(n, condition)| AlarmDefinition {
        on_delay: seconds(2),
        suppress_while: Some("state == 7".into()),
        ..define(&format!("alarm-{n}"), condition)
    };
    (0..).zip(conditions).map(define).collect()
}

#[test]
fn the_quiet_path_allocates_nothing() {
    let mut bench = Bench::new(every_kind());
    bench.link(Link::Up).set("u", Value::Int(5)).set("state", Value::Int(0));
    bench
        .set("state", Value::Text("a text, too, is shared and not copied".into()))
        .set("state", Value::Int(0));
    let run = |bench: &mut Bench| {
        for n in 0..10_000_u32 {
            // Now and then beyond the limit, not for long; now and then bad; a second without a change.
            match n % 100 {
                0 => bench.value(81.0),
                50 => bench.sample("t", Some(Value::Float(1.0)), Quality::UNCERTAIN_LAST_USABLE_VALUE),
                _ => bench.value(f64::from(n / 40 % 40)),
            };
            bench.set("state", Value::Int(0)).wait(30);
        }
    };
    run(&mut bench);
    let counted = allocation_counter::measure(|| run(&mut bench));
    assert_eq!(bench.tape, [], "nothing moved");
    assert_eq!(counted.count_total, 0);
}
