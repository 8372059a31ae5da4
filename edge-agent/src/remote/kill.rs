//! Ends a test process as a power cut would, at a step that the environment names.

use std::sync::atomic::{AtomicU32, Ordering};

/// The number of the step, from 1; none without it.
pub(super) const STEP: &str = "EDGE_AGENT_TEST_KILL_AT";

static STEPS: AtomicU32 = AtomicU32::new(0);

/// Where a file is about to be replaced or removed.
pub(super) fn step() {
    let at = std::env::var(STEP).ok().and_then(|step| step.parse::<u32>().ok());
    if at == Some(STEPS.fetch_add(1, Ordering::Relaxed) + 1) {
        std::process::abort();
    }
}
