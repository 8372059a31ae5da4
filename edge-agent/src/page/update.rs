//! The version of the agent on the page.

use super::{escaped, state};
use crate::status::Status;

/// A line of a table: the version of the agent, and what becomes of it.
pub(super) fn line(status: &Status) -> String {
    let Some(update) = &status.update else {
        return format!("<tr><th>agent</th><td>version {}</td></tr>", status.version);
    };
    let wanted =
        update.desired.as_ref().map(|version| format!(", {version} of the backend")).unwrap_or_default();
    let told = format!("version {}{wanted}, channel {}: {}", status.version, update.channel, update.state);
    let is_well = !matches!(update.state, "rolled_back" | "failed" | "refused");
    let error = update.error.as_ref().map(|error| format!(" Not reached: {error}.")).unwrap_or_default();
    format!(
        "<tr><th>agent</th><td>{} {}</td></tr>",
        state(is_well, &told, &told),
        escaped(&format!("{}{error}", update.detail))
    )
}
