//! Structured logs on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: one line an event, coloured on a terminal.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Sends events to standard error. `filter` uses the `tracing` filter syntax, for example
/// `info,uplink_mqtt=debug`; a broken filter falls back to `info` and says so.
pub fn init(format: LogFormat, filter: &str) {
    let parsed = EnvFilter::try_new(filter);
    let broken = parsed.as_ref().err().map(ToString::to_string);
    // Libraries that report each failed attempt as an error of their own are silenced: the place in
    // this project that owns the retry reports it.
    let mut filter = parsed.unwrap_or_else(|_| EnvFilter::new("info"));
    for quiet in ["opcua=off", "opcua_client=off", "opcua_core=off", "opcua_crypto=off", "rumqttc=error"] {
        if let Ok(directive) = quiet.parse() {
            filter = filter.add_directive(directive);
        }
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let outcome = match format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    if outcome.is_ok()
        && let Some(error) = broken
    {
        tracing::warn!(error, "the log filter is not valid; using \"info\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_and_a_broken_filter_do_no_harm() {
        init(LogFormat::Json, "info");
        init(LogFormat::Text, "][");
    }
}
