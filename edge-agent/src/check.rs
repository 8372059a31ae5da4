//! `edge-agent check`: what the configuration means, without touching a machine.

use std::io::Write;

use edge_config::{Connection, MachineConfig};
use serde::Serialize;

use crate::cli::CheckArguments;

#[derive(Serialize)]
struct Report {
    tenant: String,
    gateway: String,
    machines: Vec<MachineReport>,
    samples_per_second: f64,
}

#[derive(Serialize)]
struct MachineReport {
    id: String,
    protocol: &'static str,
    tags: usize,
    alarms: usize,
    /// Requests per second; 0 for subscriptions.
    requests_per_second: f64,
    /// Samples per second; for subscriptions the most that can come.
    samples_per_second: f64,
}

pub(crate) fn run(arguments: &CheckArguments) -> anyhow::Result<()> {
    let config = edge_config::load(&arguments.config)?;
    let machines: Vec<MachineReport> = config.machines.iter().map(machine).collect();
    let report = Report {
        tenant: config.tenant.to_string(),
        gateway: config.gateway.to_string(),
        samples_per_second: machines.iter().map(|m| m.samples_per_second).sum(),
        machines,
    };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        table(&mut out, &report)?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand tags")]
fn machine(machine: &MachineConfig) -> MachineReport {
    let (requests, samples) = match &machine.connection {
        Connection::ModbusTcp(connection) => {
            let rate = |d: std::time::Duration| 1.0 / d.as_secs_f64();
            let blocks = connection.blocks();
            (
                blocks.iter().map(|b| rate(b.poll_interval)).sum(),
                blocks.iter().map(|b| rate(b.poll_interval) * b.tags.len() as f64).sum(),
            )
        }
        Connection::OpcUa(connection) => {
            let fastest = connection.sampling_interval().as_secs_f64().max(0.01);
            (0.0, connection.items().len() as f64 / fastest)
        }
    };
    MachineReport {
        id: machine.id.to_string(),
        protocol: machine.connection.protocol(),
        tags: machine.tags.len(),
        alarms: machine.alarms.len(),
        requests_per_second: requests,
        samples_per_second: samples,
    }
}

fn table(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    writeln!(out, "{} / {}: the configuration is good", report.tenant, report.gateway)?;
    writeln!(
        out,
        "{:<24} {:<11} {:>5} {:>6} {:>10} {:>11}",
        "machine", "protocol", "tags", "alarms", "requests/s", "samples/s"
    )?;
    for m in &report.machines {
        let bound = if m.protocol == "opcua" { "<=" } else { "" };
        writeln!(
            out,
            "{:<24} {:<11} {:>5} {:>6} {:>10.1} {:>11}",
            m.id,
            m.protocol,
            m.tags,
            m.alarms,
            m.requests_per_second,
            format!("{bound}{:.1}", m.samples_per_second)
        )?;
    }
    Ok(())
}
