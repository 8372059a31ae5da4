//! Memory and processor time of a process, from `/proc`.

use std::time::Instant;

/// Ticks of processor time a second in `/proc`; the same on every Linux this project supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Resident memory in MiB.
    pub rss_mib: f64,
    /// Processor seconds since its start, user and system.
    pub cpu_seconds: f64,
    /// When it was looked at.
    pub at: Instant,
}

impl Usage {
    /// Looks at a process; `None` if it is gone.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let rss_kib: f64 = status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .and_then(|l| l.trim().trim_end_matches(" kB").trim().parse().ok())?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command name in parentheses may hold blanks; fields are counted behind it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        Some(Self { rss_mib: rss_kib / 1024.0, cpu_seconds: ticks / TICKS_PER_SECOND, at: Instant::now() })
    }

    /// Percent of one core used since `earlier`.
    #[must_use]
    pub fn cpu_percent_since(&self, earlier: &Self) -> f64 {
        let elapsed = self.at.duration_since(earlier.at).as_secs_f64().max(0.001);
        100.0 * (self.cpu_seconds - earlier.cpu_seconds) / elapsed
    }
}
