//! The outputs of alarms on the status page.

use super::{escaped, push};
use crate::outputs::AlarmOutput;
use crate::view::age;

/// What each output should be at, what was seen, and what went wrong last.
pub(super) fn outputs(out: &mut String, outputs: &[AlarmOutput]) {
    if outputs.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Outputs</h2><table><tr><th>output</th><th>switches</th><th>wanted</th><th>confirmed</th>\
         <th class=\"n\">drives</th><th class=\"n\">left out</th><th class=\"n\">beats failed</th><th>last error</th></tr>",
    );
    for output in outputs {
        push(
            out,
            format_args!(
                "<tr><td class=\"w\">{}</td><td class=\"l\">{}</td><td class=\"w\">{} for {}</td>\
                 <td class=\"w {}\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{} of {}</td>\
                 <td class=\"l\">{}</td></tr>",
                escaped(&output.id),
                escaped(&output.target),
                output.desired,
                age(Some(output.desired_age_ms)),
                if output.actual == Some(output.desired) { "good" } else { "bad" },
                confirmed(output),
                output.drives,
                output.coalesced,
                output.beats_failed,
                output.beats,
                escaped(&failure(output))
            ),
        );
    }
    out.push_str("</table>");
}

fn confirmed(output: &AlarmOutput) -> String {
    match output.actual {
        Some(level) => format!("{level} {} ago", age(output.confirmed_age_ms)),
        None => "not known".to_owned(),
    }
}

fn failure(output: &AlarmOutput) -> String {
    let Some(reason) = &output.last_failure else { return "-".to_owned() };
    let mended = if output.fault.is_some() { "" } else { ", mended since" };
    format!("{reason} ({} ago{mended})", age(output.last_failure_age_ms))
}

#[cfg(test)]
mod tests {
    use alarm_output_driver::OutputBoard;
    use plant_model::Monotonic;

    use super::*;
    use crate::outputs::ShownOutput;

    fn rule() -> alarm_output::OutputRule {
        alarm_output::OutputRule {
            id: alarm_output::OutputId::new("horn").expect("valid"),
            filter: alarm_output::AlarmFilter {
                machines: None,
                alarms: None,
                priority: plant_model::AlarmPriority::Low,
            },
            when: alarm_output::When::Active,
            safe: alarm_output::Safe::Kept,
            pacing: alarm_output::Pacing::default(),
            refresh: None,
            heartbeat: None,
        }
    }

    #[test]
    fn d7_what_is_wanted_what_was_seen_and_the_last_error_stand_side_by_side() {
        let output = alarm_output::Output::new(rule());
        let board = OutputBoard::new(&output, Monotonic::default());
        let shown = ShownOutput { board: board.into(), target: "press <1> coil".to_owned() };
        let unknown = shown.report(Monotonic::from_micros(3_000_000));
        let failed = AlarmOutput {
            actual: Some("on"),
            confirmed_age_ms: Some(61_000),
            fault: Some("it reads <off>".to_owned()),
            last_failure: Some("it reads <off>".to_owned()),
            last_failure_age_ms: Some(2_000),
            ..shown.report(Monotonic::from_micros(3_000_000))
        };
        let mended = AlarmOutput { fault: None, ..failed_again(&shown) };
        let mut page = String::new();
        outputs(&mut page, &[unknown, failed, mended]);
        for part in [
            "press &lt;1&gt; coil",
            "off for 3.0 s",
            "not known",
            "on 61 s ago",
            "it reads &lt;off&gt; (2.0 s ago)",
            "no answer (1.0 s ago, mended since)",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    fn failed_again(shown: &ShownOutput) -> AlarmOutput {
        AlarmOutput {
            last_failure: Some("no answer".to_owned()),
            last_failure_age_ms: Some(1_000),
            ..shown.report(Monotonic::from_micros(3_000_000))
        }
    }

    #[test]
    fn without_outputs_the_page_says_nothing_of_them() {
        let mut page = String::new();
        outputs(&mut page, &[]);
        assert_eq!(page, "");
    }
}
