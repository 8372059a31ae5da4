//! `report` of a tag: which of its readings are recorded.

use std::time::Duration;

use acquisition::{OnChange, ValueRange};
use plant_model::DataType;

use crate::section::Section;

/// Reads `report = { … }`, if it is there.
pub(crate) fn on_change(
    section: &mut Section<'_>,
    data_type: DataType,
    range: Option<ValueRange>,
) -> Option<OnChange> {
    section.table("report", |report| {
        let seconds = report.integer("heartbeat_s", 1..=86_400).unwrap_or(60);
        let heartbeat = Duration::from_secs(u64::try_from(seconds).ok()?);
        let deadband = deadband(report, data_type, range)?;
        OnChange::new(deadband, heartbeat).map_err(|error| report.problem("absolute", error.to_string())).ok()
    })
}

/// In the unit of the tag; 0 where every change counts.
fn deadband(report: &mut Section<'_>, data_type: DataType, range: Option<ValueRange>) -> Option<f64> {
    let key = match (report.has("absolute"), report.has("percent")) {
        (false, false) => return Some(0.0),
        (true, false) => "absolute",
        (false, true) => "percent",
        (true, true) => {
            report.problem("percent", "a deadband is absolute or percent; leave one out");
            return None;
        }
    };
    let size = report.number(key)?;
    if matches!(data_type, DataType::Bool | DataType::Text) {
        let kind = data_type.name();
        report.problem(key, format!("a {kind} has no deadband; leave it out, and every change is recorded"));
        return None;
    }
    if size <= 0.0 || key == "percent" && size > 100.0 {
        report.problem(
            key,
            "must be more than zero, and a percentage at most 100; leave it out to record every change",
        );
        return None;
    }
    if key == "absolute" {
        return Some(size);
    }
    let Some(range) = range else {
        report.problem(
            key,
            "of what? The tag has no range = [low, high] (Modbus only); add one, or use absolute",
        );
        return None;
    };
    Some(range.span() * size / 100.0)
}
