//! The status page: plain HTML for the browser of a technician, rendered here, without scripts.

mod outputs;
mod update;

use std::fmt::Write as _;

use axum::http::header;
use axum::response::Html;
use plant_model::{AlarmDefinition, AlarmState};

use crate::board::{MachineBoard, Standing};
use crate::configuration::{ConfigurationStatus, Origin};
use crate::operate::Page;
use crate::remote::RemoteStatus;
use crate::status::{Alarms, Bus, Machine, Status, Time};
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

/// The page loads nothing and runs nothing, and its forms go nowhere else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'";

/// A page with the policy that keeps it harmless.
pub(crate) fn guarded(page: String) -> Page {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(page))
}

/// The state of the agent. `operable`: alarms lead to a form for commands.
pub(crate) fn render(status: &Status, machines: &[MachineView], operable: bool) -> String {
    let mut out = String::new();
    let title = format!("{} / {}", escaped(&status.tenant), escaped(&status.gateway));
    head(&mut out, &title, format_args!("<meta http-equiv=\"refresh\" content=\"{REFRESH_S}\">"));
    let (version, uptime) = (status.version, age(Some(status.uptime_s * 1_000)));
    push(&mut out, format_args!("<p>edge-agent {version}, running for {uptime}</p>"));
    configuration(&mut out, &status.configuration);
    for problem in status.impossible.iter() {
        push(&mut out, format_args!("<p class=\"bad\">This cannot work: {}</p>", escaped(problem)));
    }
    delivery(&mut out, status);
    alarms(&mut out, machines, operable);
    late(&mut out, &status.alarms);
    outputs::outputs(&mut out, &status.alarms.outputs);
    connections(&mut out, &status.machines);
    buses(&mut out, &status.buses);
    for machine in machines {
        tags(&mut out, machine);
    }
    out.push_str("</body></html>\n");
    out
}

/// `title` is harmless already.
fn head(out: &mut String, title: &str, more: std::fmt::Arguments<'_>) {
    push(
        out,
        format_args!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">{more}\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <style>{STYLE}</style></head><body><h1>{title}</h1>"
        ),
    );
}

/// The form for commands to an alarm; it does not renew itself under the hands of who fills it in. `id`
/// makes it one command however often it is sent.
pub(crate) fn operate(
    machine: &MachineBoard,
    alarm: &AlarmDefinition,
    standing: Option<&Standing>,
    id: &str,
) -> String {
    let mut out = String::new();
    let title = format!("{} / {}", escaped(&machine.name), escaped(alarm.id.as_str()));
    head(&mut out, &title, format_args!(""));
    let state = standing.map_or(AlarmState::Normal, |s| s.state);
    let occurrence = standing.map_or(0, |s| s.occurrence);
    push(
        &mut out,
        format_args!(
            "<p>{}: <b>{}</b></p><form method=\"post\"><input type=\"hidden\" name=\"id\" value=\"{id}\">\
             <input type=\"hidden\" name=\"occurrence\" value=\"{occurrence}\">\
             <p><label>Your name <input name=\"actor\" required maxlength=\"100\"></label></p>\
             <p><label>Why <input name=\"comment\" maxlength=\"1000\" size=\"50\"></label></p>\
             <p><label>Minutes to shelve for <input name=\"minutes\" value=\"30\" size=\"5\"></label></p><p>",
            escaped(&alarm.message),
            state.name()
        ),
    );
    for (verb, label) in offers(state) {
        push(&mut out, format_args!("<button name=\"verb\" value=\"{verb}\">{label}</button> "));
    }
    out.push_str("</p></form><p><a href=\"/\">Back</a></p></body></html>\n");
    out
}

/// What a person may want to do about an alarm in this state.
const fn offers(state: AlarmState) -> &'static [(&'static str, &'static str)] {
    const ACKNOWLEDGE: (&str, &str) = ("acknowledge", "Acknowledge");
    const RESET: (&str, &str) = ("reset", "Reset");
    const SHELVE: (&str, &str) = ("shelve", "Shelve");
    const OUT: (&str, &str) = ("take_out_of_service", "Take out of service");
    match state {
        AlarmState::Unacknowledged
        | AlarmState::ReturnedUnacknowledged
        | AlarmState::LatchedUnacknowledged => &[ACKNOWLEDGE, SHELVE, OUT],
        AlarmState::LatchedAcknowledged => &[RESET, SHELVE, OUT],
        AlarmState::Normal | AlarmState::Acknowledged | AlarmState::SuppressedByDesign => &[SHELVE, OUT],
        AlarmState::Shelved => &[("unshelve", "Unshelve"), OUT],
        AlarmState::OutOfService => &[("return_to_service", "Return to service")],
    }
}

/// What became of a command.
pub(crate) fn answer(text: &str) -> String {
    let mut out = String::new();
    head(&mut out, "Alarm command", format_args!(""));
    push(&mut out, format_args!("<p>{}</p><p><a href=\"/\">Back</a></p></body></html>\n", escaped(text)));
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

fn clock(time: &Time) -> String {
    let trouble = format!(
        "the time is not known: {} batches wait until the clock is set or the backend tells it",
        time.batches_waiting
    );
    let mut text = state(time.known, &format!("by the clock of the {}", time.source), &trouble);
    if let Some(moved) = time.last_step_ms {
        push(&mut text, format_args!(", was set {} times, last by {moved} ms", time.steps));
    }
    if let Some(ahead) = time.backend_ahead_ms.filter(|ahead| ahead.abs() >= 1000) {
        push(&mut text, format_args!(", the backend's is ahead by {ahead} ms"));
    }
    text
}

/// What is wrong with the files, while another configuration is in use.
fn configuration(out: &mut String, configuration: &ConfigurationStatus) {
    if configuration.origin == Origin::LastGood {
        out.push_str(
            "<p class=\"bad\">The last configuration that ran well is in use: the files are wrong. ",
        );
        out.push_str("Mend them and run <code>edge-agent reload</code>.</p>");
    }
    if configuration.refused.is_empty() {
        return;
    }
    out.push_str("<p class=\"bad\">The configuration files are not in use:</p><ul>");
    for problem in &configuration.refused {
        push(out, format_args!("<li>{}</li>", escaped(problem)));
    }
    out.push_str("</ul>");
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
             <tr><th>certificate</th><td>{}</td></tr>{}\
             <tr><th>clock</th><td>{}</td></tr><tr><th>buffer</th><td>{}, {} batches committed, {} failures</td></tr>\
             <tr><th>samples</th><td>{} acquired, {} withheld as unchanged, {} restated, \
             {} committed, {} dropped</td></tr></table>",
            state(uplink.connected, "connected", &trouble),
            buffer.backlog_batches,
            certificate(status),
            format_args!("{}{}", remote(status.remote.as_ref()), update::line(status)),
            clock(&status.clock),
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

fn certificate(status: &Status) -> String {
    let Some(certificate) = &status.certificate else { return "unknown".to_owned() };
    let good = format!("good for {} days", certificate.days_left);
    let bad = certificate.error.clone().unwrap_or_else(|| "it has ended".to_owned());
    state(certificate.error.is_none() && certificate.days_left >= 0, &good, &bad)
}

/// A line of a table, if anything comes from the backend.
fn remote(remote: Option<&RemoteStatus>) -> String {
    let Some(remote) = remote else { return String::new() };
    let version = |version: Option<u32>| version.map_or_else(String::new, |version| format!(" {version}"));
    let (named, applied) = (version(remote.version), version(remote.applied));
    let told = match remote.state {
        "current" => format!("version{named} of the backend"),
        "trial" => format!("version{named} of the backend, on trial"),
        "local" => "the files of this gateway".to_owned(),
        "adopted" => format!("the files of this gateway, kept in place of version{named} of the backend"),
        state => format!("version{named} of the backend is not in use: {state}; version in use:{applied}"),
    };
    let is_well = matches!(remote.state, "current" | "trial" | "local" | "adopted");
    let edited: Vec<&str> = remote.drift.iter().map(|drifted| drifted.file.as_str()).collect();
    let detail =
        if edited.is_empty() { String::new() } else { format!(" Edited here: {}.", edited.join(", ")) };
    let error = remote.error.as_ref().map(|error| format!(" Not reached: {error}.")).unwrap_or_default();
    format!(
        "<tr><th>machine files</th><td>{} {}</td></tr>",
        state(is_well, &told, &told),
        escaped(&format!("{}{detail}{error}", remote.detail))
    )
}

fn alarms(out: &mut String, machines: &[MachineView], operable: bool) {
    let standing: Vec<(&MachineView, &AlarmView)> =
        machines.iter().flat_map(|m| m.alarms.iter().map(move |a| (m, a))).collect();
    let active = standing.iter().filter(|(_, a)| a.annunciated).count();
    push(out, format_args!("<h2>Active alarms: {active}</h2>"));
    if standing.is_empty() {
        return;
    }
    out.push_str(
        "<table><tr><th>machine</th><th>alarm</th><th>state</th><th>priority</th><th>value</th><th>message</th></tr>",
    );
    for (machine, alarm) in standing {
        push(
            out,
            format_args!(
                "<tr><td>{}</td><td class=\"{}\">{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
                escaped(&machine.name),
                if alarm.annunciated { "bad" } else { "uncertain" },
                named(machine, alarm, operable),
                escaped(&alarm.state_name),
                escaped(&alarm.priority),
                escaped(alarm.value.as_deref().unwrap_or("-")),
                escaped(&alarm.message)
            ),
        );
    }
    out.push_str("</table>");
}

/// The promise, where it was broken.
fn late(out: &mut String, alarms: &Alarms) {
    let Some(last) = &alarms.last_late else { return };
    push(
        out,
        format_args!(
            "<p class=\"uncertain\">Late alarms: {}; the last was {} of {} after {} ms, where {} ms are allowed</p>",
            alarms.late.values().sum::<u64>(),
            escaped(&last.alarm),
            escaped(&last.machine),
            last.took_ms,
            last.budget_ms
        ),
    );
}

fn named(machine: &MachineView, alarm: &AlarmView, operable: bool) -> String {
    let (machine, alarm) = (escaped(&machine.id), escaped(&alarm.id));
    match operable {
        true => format!("<a href=\"/machines/{machine}/alarms/{alarm}\">{alarm}</a>"),
        false => alarm,
    }
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
