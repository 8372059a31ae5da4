//! Which configuration is in use, since when, and which one was refused.

use std::sync::Arc;

use edge_config::Sources;
use plant_model::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

/// Problems that are shown; a file full of nonsense has thousands.
const SHOWN_MAX: usize = 50;

/// Where a configuration comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// From the files of the technician.
    Files,
    /// From the copy of what ran well last, because the files are wrong.
    LastGood,
}

/// The configuration in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ConfigurationStatus {
    /// When it came into use, milliseconds since 1970 UTC.
    pub loaded_at_ms: i64,
    /// SHA-256 over its files, in hexadecimal.
    pub digest: String,
    pub origin: Origin,
    /// What is wrong with the files, if they were refused since.
    pub refused: Vec<String>,
    /// When they were.
    pub refused_at_ms: Option<i64>,
}

/// What is loaded, as it is told to who waits for it.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub sources: Arc<Sources>,
    pub status: ConfigurationStatus,
}

/// Knows the configuration in use.
#[derive(Debug)]
pub(crate) struct ConfigurationDesk(watch::Sender<Loaded>);

impl Default for ConfigurationDesk {
    fn default() -> Self {
        let nothing = Sources::kept(std::path::PathBuf::new(), std::collections::BTreeMap::new());
        Self::new(nothing, Origin::Files, Timestamp::default())
    }
}

impl ConfigurationDesk {
    pub(crate) fn new(sources: Sources, origin: Origin, now: Timestamp) -> Self {
        Self(watch::Sender::new(loaded(sources, origin, now)))
    }

    /// Another one is in use; what was refused before is of no interest any more.
    pub(crate) fn loaded(&self, sources: Sources, origin: Origin, now: Timestamp) {
        self.0.send_replace(loaded(sources, origin, now));
    }

    /// The files are not used, for these reasons.
    pub(crate) fn refused(&self, problems: Vec<String>, now: Timestamp) {
        self.0.send_if_modified(|loaded| {
            loaded.status.refused = shortened(problems);
            loaded.status.refused_at_ms = Some(now.millis());
            // Who waits for another configuration need not know.
            false
        });
    }

    pub(crate) fn status(&self) -> ConfigurationStatus {
        self.0.borrow().status.clone()
    }

    /// Tells of each configuration that comes into use.
    pub(crate) fn follow(&self) -> watch::Receiver<Loaded> {
        self.0.subscribe()
    }
}

fn loaded(sources: Sources, origin: Origin, now: Timestamp) -> Loaded {
    let status = ConfigurationStatus {
        loaded_at_ms: now.millis(),
        digest: digest(&sources),
        origin,
        refused: Vec::new(),
        refused_at_ms: None,
    };
    Loaded { sources: Arc::new(sources), status }
}

fn shortened(mut problems: Vec<String>) -> Vec<String> {
    let over = problems.len().saturating_sub(SHOWN_MAX);
    problems.truncate(SHOWN_MAX);
    if over > 0 {
        problems.push(format!("and {over} more; `edge-agent check` shows all"));
    }
    problems
}

/// Over each path and text in the order of the paths, each with its length in front (8 bytes, big endian).
pub(crate) fn digest(sources: &Sources) -> String {
    let mut digest = Sha256::new();
    for part in sources.texts().iter().flat_map(|(path, text)| [path, text]) {
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(texts: &[(&str, &str)]) -> Sources {
        let texts = texts.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Sources::kept("/etc/edge-agent".into(), texts.collect())
    }

    #[test]
    fn a_digest_tells_where_one_file_ends_and_the_next_begins() {
        let one = digest(&sources(&[("a", "bc"), ("d", "")]));
        let other = digest(&sources(&[("a", "b"), ("cd", "")]));
        assert_eq!((one.len(), one == other), (64, false));
    }

    #[test]
    fn f2_what_was_refused_is_shown_with_its_first_problems_until_a_configuration_is_accepted() {
        let desk = ConfigurationDesk::default();
        let told = desk.follow();
        desk.refused((0..60).map(|n| format!("problem {n}")).collect(), Timestamp::from_micros(5_000));
        let status = desk.status();
        assert_eq!((status.refused.len(), status.refused_at_ms), (SHOWN_MAX + 1, Some(5)));
        assert_eq!(status.refused[SHOWN_MAX], "and 10 more; `edge-agent check` shows all");
        assert!(!told.has_changed().expect("open"), "the configuration in use is the same");
        desk.loaded(sources(&[("agent.toml", "x")]), Origin::Files, Timestamp::from_micros(9_000));
        let status = desk.status();
        assert_eq!((status.refused, status.loaded_at_ms), (Vec::new(), 9));
        assert!(told.has_changed().expect("open"));
    }
}
