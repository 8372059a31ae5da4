//! What a start takes up from the last run: the buffer, and how the alarms stood.

use std::collections::HashMap;
use std::path::Path;

use alarm_engine::{AlarmSnapshot, PastCommand, Snapshot};
use anyhow::Result;
use edge_config::AgentConfig;
use edge_store::{EdgeStore, Opened, Settings, StoredAlarm, StoredCommand};
use plant_model::{MachineId, TimeKeeper, Timestamp};
use service_kit::Clock;

use crate::buffer_key;
use crate::time::{first_look, this_boot};

/// The buffer, and what can be said of the time with what it knows.
pub(crate) fn open_store_in_time(config: &AgentConfig, clock: Clock) -> Result<(EdgeStore, TimeKeeper)> {
    first_look(clock, Timestamp::default());
    let mut store = open_store(config, clock)?;
    let keeper = first_look(clock, store.time_floor());
    match keeper.booted_at() {
        Some(booted_at) => store.know_time(booted_at)?,
        None => tracing::warn!(clock = %Clock::system(), not_before = %keeper.floor(),
            "the clock cannot be right: until it is set or the backend tells the time, samples are kept and not sent"),
    }
    Ok((store, keeper))
}

fn open_store(config: &AgentConfig, clock: Clock) -> Result<EdgeStore> {
    let buffer = &config.buffer;
    let settings = Settings {
        commit_interval: buffer.commit_interval,
        commit_samples: buffer.commit_samples,
        bytes_max: buffer.bytes_max,
        replay_window: buffer.replay_window,
        message_bytes_max: buffer.message_bytes_max,
        key: buffer_key::load(buffer.key_file.as_deref())?,
        boot: Some(this_boot()),
        ..Settings::new(&buffer.path)
    };
    let opened = EdgeStore::open(settings, clock.wall())?;
    report_damage(&opened, &buffer.path);
    Ok(opened.store)
}

fn report_damage(opened: &Opened, path: &Path) {
    let epoch = opened.store.epoch();
    if opened.log_was_cut {
        tracing::error!(path = %path.display(), epoch = %epoch,
            "the log of the buffer was missing or cut: commits may be lost; numbers are skipped and a gap is recorded");
    }
    let Some(aside) = &opened.set_aside else { return };
    match opened.salvaged {
        Some(salvaged) => {
            tracing::error!(path = %path.display(), set_aside = %aside.display(), epoch = %epoch,
            batches = salvaged.batches, gaps = salvaged.gaps,
            "the buffer was damaged: it is kept under its new name, and what could be read goes on in a new file")
        }
        None => tracing::error!(path = %path.display(), set_aside = %aside.display(), epoch = %epoch,
            "the buffer was damaged beyond reading: it is kept under its new name, and an empty buffer with a new \
             epoch is in use; batches that were not delivered are only in the file set aside"),
    }
}

pub(crate) type Snapshots = HashMap<MachineId, Snapshot>;

pub(crate) fn snapshots(stored: Vec<StoredAlarm>, commands: Vec<StoredCommand>) -> Snapshots {
    let mut out = Snapshots::new();
    for alarm in stored {
        let StoredAlarm { occurrence, flags, timers, .. } = alarm;
        let kept = AlarmSnapshot { occurrence, flags, timers };
        out.entry(alarm.machine).or_default().alarms.insert(alarm.alarm, kept);
    }
    for StoredCommand { machine, alarm, id, cause } in commands {
        // Only what was carried out is kept: what was refused has moved nothing and is answered anew.
        let Some(verb) = cause.verb() else { continue };
        out.entry(machine).or_default().commands.push(PastCommand { id, alarm, verb, refusal: None });
    }
    out
}
