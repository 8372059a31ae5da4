//! `edge-agent check`: reads the configuration and says what would run, at what rates, how late an
//! alarm can be and how long the buffer lasts.

use std::io::Write;

use edge_config::ConfigErrors;

use super::output_plan;
use super::physics::{self, AlarmPlan, ConnectionPlan, Physics, Severity};
use super::table::{Cell, Paint, Table, Tone};
use super::{Output, print};
use crate::cli::CheckArguments;

/// Prints the report; what cannot work is an error of the configuration.
pub(crate) fn run(arguments: &CheckArguments) -> anyhow::Result<()> {
    let config = edge_config::load(&arguments.config)?;
    let physics = physics::compute(&config);
    print(Output::json(arguments.json), &physics, write)?;
    let impossible = physics.problems(Severity::Error);
    if impossible.is_empty() { Ok(()) } else { Err(ConfigErrors(impossible).into()) }
}

/// The same report as text, for the support file.
pub(crate) fn text(physics: &Physics) -> String {
    let mut out = Vec::new();
    match write(&mut out, Paint::Plain, physics) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(error) => format!("the report could not be written: {error}\n"),
    }
}

fn write(out: &mut dyn Write, paint: Paint, physics: &Physics) -> std::io::Result<()> {
    let good = physics.problems(Severity::Error).is_empty();
    let verdict =
        if good { (Tone::Good, "the configuration is good") } else { (Tone::Bad, "this cannot work") };
    writeln!(out, "{} / {}: {}\n", physics.tenant, physics.gateway, paint.text(verdict.0, verdict.1))?;
    machines(physics).write(out, paint)?;
    for connection in physics.connections.iter().filter(|c| !c.requests.is_empty()) {
        write_connection(out, paint, connection)?;
    }
    if !physics.alarms.is_empty() {
        writeln!(out)?;
        alarms(&physics.alarms).write(out, paint)?;
    }
    output_plan::write(out, paint, &physics.outputs)?;
    for raised in &physics.raised {
        writeln!(
            out,
            "{} {}: {} acquired every {} ms, not every {} ms as configured: its alarms need it",
            paint.text(Tone::Warning, "raised:"),
            raised.machine,
            shortened(&raised.tags),
            raised.interval_ms,
            raised.configured_ms
        )?;
    }
    write_volume(out, physics)?;
    for warning in physics.problems(Severity::Warning) {
        writeln!(out, "{} {warning}", paint.text(Tone::Warning, "warning:"))?;
    }
    Ok(())
}

fn machines(physics: &Physics) -> Table {
    let mut table = Table::new(&["machine", "protocol", ">tags", ">alarms", ">requests/s", ">samples/s"]);
    for m in &physics.machines {
        let bound = if m.protocol == "opcua" { "<=" } else { "" };
        table.row([
            Cell::from(&m.id),
            m.protocol.into(),
            m.tags.into(),
            m.alarms.into(),
            format!("{:.1}", m.requests_per_second).into(),
            format!("{bound}{:.1}", m.samples_per_second).into(),
        ]);
    }
    table
}

fn write_connection(out: &mut dyn Write, paint: Paint, plan: &ConnectionPlan) -> std::io::Result<()> {
    writeln!(
        out,
        "\n{} {}: {} requests, cycle {:.0} ms, busy {:.1} % of the time",
        plan.protocol,
        plan.address,
        plan.requests.len(),
        plan.cycle_ms,
        plan.utilisation * 100.0
    )?;
    if let Some(ms) = plan.soft_deadline_ms {
        writeln!(out, "answers that take longer than {ms} ms make values uncertain")?;
    }
    let mut table = Table::new(&["machine", ">unit", "table", ">start", ">quantity", ">every ms", "tags"]);
    for r in &plan.requests {
        table.row([
            Cell::from(&r.machine),
            r.unit_id.into(),
            r.table.into(),
            r.start.into(),
            r.quantity.into(),
            r.poll_interval_ms.into(),
            shortened(&r.tags).into(),
        ]);
    }
    table.write(out, paint)
}

/// The first tags and how many more there are: a line of a terminal, not a page.
fn shortened(tags: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = tags.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match tags.len().checked_sub(SHOWN) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

fn alarms(alarms: &[AlarmPlan]) -> Table {
    let mut table =
        Table::new(&["machine", "alarm", "tag", ">worst case ms", ">budget ms", ">on_delay ms", "verdict"]);
    for a in alarms {
        let verdict = match (a.is_within_budget, a.latency_ms_max) {
            (true, Some(_)) => (Tone::Good, "in time"),
            (true, None) => (Tone::Good, "no value decides"),
            (false, _) => (Tone::Bad, "late"),
        };
        table.row([
            Cell::from(&a.machine),
            (&a.alarm).into(),
            (&a.tag).into(),
            a.latency_ms_max.map_or_else(|| "-".to_owned(), |ms| ms.to_string()).into(),
            a.budget_ms.into(),
            a.on_delay_ms.into(),
            Cell::toned(verdict.0, verdict.1),
        ]);
    }
    table
}

fn write_volume(out: &mut dyn Write, physics: &Physics) -> std::io::Result<()> {
    let volume = &physics.volume;
    writeln!(
        out,
        "\nat most {:.1} samples/s, {:.2} million a day, {:.1} MB a day on disk and on the wire; \
         a buffer of {} MiB lasts {:.1} days without an uplink\n",
        volume.samples_per_second,
        volume.samples_per_day / 1e6,
        volume.disk_bytes_per_day / 1e6,
        volume.buffer_bytes_max >> 20,
        volume.buffer_days
    )?;
    match volume.tags_recorded_on_change {
        0 => Ok(()),
        tags => writeln!(
            out,
            "these figures are upper bounds: {tags} tags are recorded on change and at their heartbeat only\n"
        ),
    }
}
