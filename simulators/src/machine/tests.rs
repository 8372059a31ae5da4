use tokio::time::timeout;

use super::*;
use crate::line::Place;

fn machine(protocol: Protocol) -> Machine {
    let config = MachineConfig::new("m-1", Kind::CncMill, protocol);
    let place = Place::Tcp("127.0.0.1:0".parse().unwrap());
    let line = Arc::new(Line::new("m-1", protocol, place, false, Mode::Healthy));
    Machine::new(&config, 42, line, Arc::default())
}

fn tag<'a>(detail: &'a MachineDetail, id: &str) -> &'a TagReport {
    detail.tags.iter().find(|tag| tag.id == id).unwrap()
}

#[tokio::test]
async fn a_set_value_stays_over_ticks_until_it_is_released() {
    let machine = machine(Protocol::ModbusTcp);
    let at_us = machine.set("spindle_temperature", &Value::Float(91.26), None).await.unwrap();
    machine.tick().await;
    let detail = machine.detail();
    let temperature = tag(&detail, "spindle_temperature");
    assert_eq!((&temperature.value, temperature.changed_at_us), (&Value::Float(91.3), at_us));
    assert!(temperature.held);
    machine.release("spindle_temperature").await.unwrap();
    assert!(tag(&machine.detail(), "spindle_temperature").value != Value::Float(91.3));
}

#[tokio::test]
async fn a_hold_ends_by_itself_after_its_time() {
    let machine = Arc::new(machine(Protocol::ModbusTcp));
    let expiring = tokio::spawn({
        let machine = Arc::clone(&machine);
        async move { machine.expire_holds().await }
    });
    let hold = Duration::from_millis(50);
    let at_us = machine.set("spindle_temperature", &Value::Float(91.3), Some(hold)).await.unwrap();
    let ended_at_us = timeout(Duration::from_secs(10), async {
        loop {
            let detail = machine.detail();
            if !tag(&detail, "spindle_temperature").held {
                return tag(&detail, "spindle_temperature").changed_at_us;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the hold ends");
    assert!(ended_at_us - at_us >= 50_000, "held for {} us only", ended_at_us - at_us);
    expiring.abort();
}

#[tokio::test]
async fn a_paused_machine_does_not_change() {
    let machine = machine(Protocol::Opcua);
    machine.tick().await;
    let before = machine.detail();
    assert_eq!(before.machine.ticks, 1);
    machine.paused.store(true, Ordering::SeqCst);
    machine.tick().await;
    assert_eq!(machine.detail(), before);
}

#[tokio::test]
async fn each_read_counts_the_counters_it_covers() {
    let machine = machine(Protocol::ModbusTcp);
    let index = |id| machine.tag_index(id).unwrap();
    let (scan, fast) = (index("scan_count"), index("fast_count"));
    assert_eq!(machine.serve_read(&[scan])[scan], Value::Int(1));
    assert_eq!(machine.serve_read(&[scan])[scan], Value::Int(2));
    assert_eq!(machine.serve_read(&[0, 1, fast])[fast], Value::Int(1));
    let produced = machine.report().produced;
    assert_eq!((produced.reads_served, produced.scan_reads, produced.fast_reads), (3, 2, 1));
    assert_eq!(produced.tag_values_served, 5);
}

#[tokio::test]
async fn a_tick_does_not_touch_the_read_counters() {
    let machine = machine(Protocol::ModbusTcp);
    let scan = machine.tag_index("scan_count").unwrap();
    machine.serve_read(&[scan]);
    machine.tick().await;
    assert_eq!(machine.values()[scan], Value::Int(1));
}

#[tokio::test]
async fn values_stand_still_while_a_monitored_item_is_made() {
    let machine = machine(Protocol::Opcua);
    machine.monitored_item_created(0);
    let started = Instant::now();
    machine.tick().await;
    assert!(started.elapsed() >= SETTLE - Duration::from_millis(5), "only {:?}", started.elapsed());
}

#[tokio::test]
async fn notifications_are_owed_for_the_first_value_and_each_change_while_an_item_lives() {
    let machine = machine(Protocol::Opcua);
    let scan = machine.tag_index("scan_count").unwrap();
    machine.tick().await;
    machine.monitored_item_created(scan);
    machine.tick().await;
    machine.tick().await;
    machine.monitored_item_deleted(scan);
    machine.tick().await;
    let detail = machine.detail();
    let scan = tag(&detail, "scan_count");
    assert_eq!((scan.changes, scan.changes_since_subscribed), (4, 3));
    assert_eq!((scan.initial_values, scan.notifications_due, scan.monitored_items), (1, 3, 0));
}

#[tokio::test]
async fn all_changes_of_a_tick_are_published_with_one_instant() {
    let machine = machine(Protocol::Opcua);
    let (sender, receiver) = std::sync::mpsc::sync_channel(100);
    machine.publish_to(Box::new(move |changes| {
        for change in changes {
            sender.try_send((change.tag, change.at_us)).unwrap();
        }
    }));
    machine.tick().await;
    let published: Vec<_> = receiver.try_iter().collect();
    assert!(published.len() > 2, "{published:?}");
    assert!(published.iter().all(|&(_, at_us)| at_us == published[0].1), "{published:?}");
    assert_eq!(published.len() as u64, machine.report().produced.changes);
}

#[tokio::test]
async fn values_a_tag_cannot_carry_are_refused_with_what_is_allowed() {
    let machine = machine(Protocol::ModbusTcp);
    for (tag, value, allowed) in [
        ("spindle_temperature", Value::Float(4000.0), "-3276.8 to 3276.7"),
        ("spindle_speed", Value::Int(-1), "0 to 65535"),
        ("state", Value::Int(4), "0 to 3"),
        ("door_closed", Value::Int(1), "true or false"),
        ("program", Value::Text("A TEXT THAT IS TOO LONG".into()), "at most 16"),
        ("vibration", Value::Float(f64::NAN), "-1000000000 to 1000000000"),
        ("scan_count", Value::Int(1), "only the simulator counts it"),
    ] {
        let error = machine.set(tag, &value, None).await.unwrap_err().to_string();
        assert!(error.contains(tag) && error.contains(allowed), "{error}");
    }
    let error = machine.set("speed", &Value::Int(1), None).await.unwrap_err().to_string();
    assert!(error.contains("no tag \"speed\""), "{error}");
}
