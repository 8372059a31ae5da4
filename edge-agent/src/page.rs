//! The status page: plain HTML for the browser of a technician, rendered here, without scripts.

use std::fmt::Write as _;

use crate::status::{Bus, Machine, Status};
use crate::view::{AlarmView, Class, MachineView, TagView, age};

const STYLE: &str = "body{font:15px/1.4 system-ui,sans-serif;margin:1rem;color:#222;background:#fff}\
table{border-collapse:collapse;margin:.3rem 0 1.2rem;display:block;overflow-x:auto}th,td{padding:.15rem .7rem .15rem 0;text-align:left}\
th,td{border-bottom:1px solid #9996}.n{text-align:right}.n,.w{white-space:nowrap}.l{min-width:9rem}.uncertain{color:#8a5a00}.bad{color:#b3121d}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}.uncertain{color:#e5b454}\
.bad{color:#ff7b7b}}";

/// A bus that is taken for longer has no time left for a machine that falls silent.
const BUSY_PERCENT: f64 = 80.0;

/// Seconds between two views of the page.
const REFRESH_S: u32 = 2;

pub(crate) fn render(status: &Status, machines: &[MachineView]) -> String {
    let mut out = String::new();
    let title = format!("{} / {}", escaped(&status.tenant), escaped(&status.gateway));
    push(
        &mut out,
        format_args!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta http-equiv=\"refresh\" content=\"{REFRESH_S}\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <style>{STYLE}</style></head><body><h1>{title}</h1><p>edge-agent {}, running for {}</p>",
            status.version,
            age(Some(status.uptime_s * 1_000))
        ),
    );
    delivery(&mut out, status);
    alarms(&mut out, machines);
    connections(&mut out, &status.machines);
    buses(&mut out, &status.buses);
    for machine in machines {
        tags(&mut out, machine);
    }
    out.push_str("</body></html>\n");
    out
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
}

/// Text from a configuration or a machine, made harmless.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
        out
    })
}

fn state(is_good: bool, good: &str, bad: &str) -> String {
    if is_good {
        format!("<span class=\"good\">{good}</span>")
    } else {
        format!("<span class=\"bad\">{}</span>", escaped(bad))
    }
}

fn delivery(out: &mut String, status: &Status) {
    let (buffer, uplink, samples) = (&status.buffer, &status.uplink, &status.samples);
    let trouble = match uplink.last_error.as_str() {
        "" => "not connected; no attempt has failed (is [uplink] configured?)".to_owned(),
        why => format!("not connected: {why}"),
    };
    push(
        out,
        format_args!(
            "<h2>Buffer and uplink</h2><table>\
             <tr><th>uplink</th><td>{}</td></tr><tr><th>waiting for delivery</th><td>{} batches</td></tr>\
             <tr><th>buffer</th><td>{}, {} batches committed, {} failures</td></tr>\
             <tr><th>samples</th><td>{} acquired, {} withheld as unchanged, {} restated, \
             {} committed, {} dropped</td></tr></table>",
            state(uplink.connected, "connected", &trouble),
            buffer.backlog_batches,
            state(!buffer.stalled, "commits", "cannot commit: check the disk"),
            buffer.batches_committed,
            buffer.commit_failures,
            samples.acquired,
            samples.withheld,
            samples.restated,
            samples.committed,
            samples.dropped
        ),
    );
}

fn alarms(out: &mut String, machines: &[MachineView]) {
    let active: Vec<(&MachineView, &AlarmView)> =
        machines.iter().flat_map(|m| m.alarms.iter().map(move |a| (m, a))).collect();
    push(out, format_args!("<h2>Active alarms: {}</h2>", active.len()));
    if active.is_empty() {
        return;
    }
    out.push_str(
        "<table><tr><th>machine</th><th>alarm</th><th>priority</th><th>value</th><th>message</th></tr>",
    );
    for (machine, alarm) in active {
        push(
            out,
            format_args!(
                "<tr><td>{}</td><td class=\"bad\">{}</td><td>{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
                escaped(&machine.name),
                escaped(&alarm.id),
                escaped(&alarm.priority),
                escaped(alarm.value.as_deref().unwrap_or("before start")),
                escaped(&alarm.message)
            ),
        );
    }
    out.push_str("</table>");
}

fn connections(out: &mut String, machines: &[Machine]) {
    out.push_str(
        "<h2>Connections</h2><table><tr><th>machine</th><th>protocol</th><th>link</th><th class=\"n\">polls</th>\
         <th class=\"n\">failed</th><th class=\"n\">missed</th><th class=\"n\">connects</th><th>remarks</th></tr>",
    );
    for m in machines {
        push(
            out,
            format_args!(
                "<tr><td class=\"w\">{}</td><td class=\"w\">{}</td><td class=\"l\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"l\">{}</td></tr>",
                escaped(&m.id),
                m.protocol,
                state(m.link_up, "up", &m.link_reason),
                m.polls_ok,
                m.polls_failed,
                m.missed_ticks,
                m.connects,
                escaped(&remarks(m))
            ),
        );
    }
    out.push_str("</table>");
}

fn remarks(machine: &Machine) -> String {
    let mut remarks = Vec::new();
    if machine.doubtful_source_times > 0 {
        remarks.push(format!(
            "{} with a doubtful source time: check the machine's clock",
            machine.doubtful_source_times
        ));
    }
    if !machine.last_error.is_empty() && machine.last_error != machine.link_reason {
        remarks.push(format!("last error: {}", machine.last_error));
    }
    remarks.join("; ")
}

fn buses(out: &mut String, buses: &[Bus]) {
    if buses.is_empty() {
        return;
    }
    out.push_str("<h2>Buses</h2><table><tr><th>bus</th><th class=\"n\">taken</th><th>machines</th></tr>");
    for bus in buses {
        let class = if bus.load.percent > BUSY_PERCENT { "n uncertain" } else { "n" };
        push(
            out,
            format_args!(
                "<tr><td>{}</td><td class=\"{class}\">{:.1} %</td><td>{}</td></tr>",
                escaped(&bus.bus),
                bus.load.percent,
                escaped(&bus.machines.join(", "))
            ),
        );
    }
    out.push_str("</table>");
}

fn tags(out: &mut String, machine: &MachineView) {
    push(
        out,
        format_args!(
            "<h2>{}</h2><table><tr><th>tag</th><th class=\"n\">value</th><th>unit</th><th>quality</th>\
             <th class=\"n\">age</th></tr>",
            escaped(&machine.name)
        ),
    );
    for tag in &machine.tags {
        row(out, tag);
    }
    out.push_str("</table>");
}

fn row(out: &mut String, tag: &TagView) {
    let class = match tag.class {
        Class::Good => "good",
        Class::Uncertain => "uncertain",
        Class::Bad => "bad",
    };
    push(
        out,
        format_args!(
            "<tr><td>{}</td><td class=\"n\">{}</td><td>{}</td><td class=\"{class}\">{}</td><td class=\"n\">{}</td></tr>",
            escaped(&tag.name),
            escaped(&tag.shown()),
            escaped(&tag.unit),
            escaped(&tag.quality),
            age(tag.age_ms)
        ),
    );
}
