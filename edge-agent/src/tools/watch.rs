//! `edge-agent watch`: the newest values of a running agent, in the terminal.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::table::{Cell, Paint, Table, Tone};
use super::{Found, local, runtime};
use crate::cli::WatchArguments;
use crate::view::{Class, MachineView, age};

/// Cursor to the upper left corner, and nothing below it.
const CLEAR: &str = "\x1b[H\x1b[J";

pub(crate) fn run(arguments: &WatchArguments) -> Result<Found> {
    let address = match arguments.status {
        Some(address) => address,
        None => local::configured(&edge_config::load(&arguments.config)?, &arguments.config)?,
    };
    runtime()?.block_on(watch(address, arguments))?;
    Ok(Found::Something)
}

async fn watch(address: SocketAddr, arguments: &WatchArguments) -> Result<()> {
    loop {
        let machines = look(address, arguments.machine.as_deref()).await?;
        match show(&machines, arguments) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            shown => shown?,
        }
        if arguments.once {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(arguments.interval_ms)).await;
    }
}

async fn look(address: SocketAddr, machine: Option<&str>) -> Result<Vec<MachineView>> {
    let path = machine.map_or("/machines".to_owned(), |id| format!("/machines/{id}"));
    let body = local::get(address, &path).await?;
    let parsed = match machine {
        Some(_) => serde_json::from_slice(&body).map(|one| vec![one]),
        None => serde_json::from_slice(&body),
    };
    parsed.with_context(|| format!("{address}{path} is not the status interface of this version"))
}

fn show(machines: &[MachineView], arguments: &WatchArguments) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer(&mut out, machines)?;
        return writeln!(out);
    }
    let is_terminal = out.is_terminal();
    if is_terminal && !arguments.once {
        write!(out, "{CLEAR}")?;
    }
    write(&mut out, Paint::for_terminal(is_terminal), machines)
}

fn write(out: &mut dyn Write, paint: Paint, machines: &[MachineView]) -> std::io::Result<()> {
    let mut table = Table::new(&["machine", "tag", ">value", "unit", "quality", ">age"]);
    for machine in machines {
        for tag in &machine.tags {
            let tone = match tag.class {
                Class::Good => Tone::Good,
                Class::Uncertain => Tone::Warning,
                Class::Bad => Tone::Bad,
            };
            table.row([
                Cell::from(&machine.id),
                (&tag.id).into(),
                tag.shown().into(),
                (&tag.unit).into(),
                Cell::toned(tone, &tag.quality),
                age(tag.age_ms).into(),
            ]);
        }
    }
    table.write(out, paint)?;
    for machine in machines.iter().filter(|m| !m.link_up) {
        writeln!(out, "{} {}: {}", paint.text(Tone::Bad, "no link:"), machine.id, machine.link_reason)?;
    }
    for (machine, alarm) in machines.iter().flat_map(|m| m.alarms.iter().map(move |a| (m, a))) {
        let head = paint.text(Tone::Bad, "alarm:");
        writeln!(out, "{head} {} {} ({}): {}", machine.id, alarm.id, alarm.priority, alarm.message)?;
    }
    write_remarks(out, paint, machines)?;
    out.flush()
}

fn write_remarks(out: &mut dyn Write, paint: Paint, machines: &[MachineView]) -> std::io::Result<()> {
    let mut told: Vec<&str> = Vec::new();
    for (bus, load) in machines.iter().filter_map(|m| Some((m.bus.as_deref()?, m.bus_load?))) {
        if !told.contains(&bus) {
            told.push(bus);
            writeln!(out, "bus {bus}: taken for {:.1} % of the last {:.0} s", load.percent, load.interval_s)?;
        }
    }
    for machine in machines.iter().filter(|m| m.doubtful_source_times > 0) {
        let (head, count) = (paint.text(Tone::Warning, "clock:"), machine.doubtful_source_times);
        writeln!(out, "{head} {}: {count} values with a doubtful source time", machine.id)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use acquisition::TagIndex;

    use super::*;
    use crate::board::tests::{sample, transition};
    use crate::status::tests::{observed, observed_bus, served};

    #[tokio::test]
    async fn values_alarms_and_lost_links_of_a_running_agent_are_shown() {
        let observed = observed();
        let machine = &observed.board.shown().machines[0];
        machine.update([(TagIndex(0), &sample(90))].into_iter());
        machine.alarm_moved(&transition(plant_model::AlarmState::Unacknowledged));
        let machines = look(served(observed.clone()).await, None).await.expect("the agent answers");
        let mut out = Vec::new();
        write(&mut out, Paint::Plain, &machines).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("lathe-1  speed     90  rpm   Good"), "{text}");
        assert!(text.contains("no link: lathe-1: not connected yet"), "{text}");
        assert!(text.contains("alarm: lathe-1 fast (medium): Too fast"), "{text}");
    }

    #[tokio::test]
    async fn buses_and_wrong_clocks_are_told_below_the_table() {
        let machines = look(served(observed_bus()).await, None).await.expect("the agent answers");
        let mut out = Vec::new();
        write(&mut out, Paint::Plain, &machines).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text.matches("bus /dev/ttyUSB0: taken for").count(), 1, "{text}");
        assert!(text.contains("clock: lathe-1: 7 values with a doubtful source time"), "{text}");
        assert!(text.contains("running (1)"), "{text}");
    }

    #[tokio::test]
    async fn an_agent_that_does_not_run_is_said() {
        let port = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            listener.local_addr().expect("bound")
        };
        let error = look(port, None).await.expect_err("nobody").to_string();
        assert!(error.contains("is it running"), "{error}");
    }
}
