//! Random faults with a fixed seed: kills at any moment, and all kinds mixed.

use std::time::Duration;

use anyhow::Result;
use factory_tests::campaign::{Kind, Options, run};

async fn campaign(options: Options) -> Result<()> {
    let said = std::sync::Mutex::new(String::new());
    let say = |line: &str| {
        let mut said = said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        said.push_str(line);
        said.push('\n');
    };
    let ledger = run(&options, say, std::future::pending()).await?;
    let said = said.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    // How many fit into the time depends on how soon the next may come, and that on the machine.
    assert!(ledger.is_clean() && ledger.faults() >= 3, "{said}\n{ledger}");
    Ok(())
}

/// Twenty seconds of `kill -9`, while the link is up, cut and throttled. 200 and more are for the long campaign.
#[tokio::test(flavor = "multi_thread")]
async fn a2_kills_of_the_agent_at_any_moment_cost_no_committed_sample() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let only = vec![Kind::AgentKill, Kind::LinkCut, Kind::LinkThrottle];
    let duration = Duration::from_secs(20);
    let data = folder.path().join("data");
    campaign(Options { seed: 2, duration, plants: 1, only, memory_disks: false, data }).await
}

/// A minute of everything; hours of it are for people (`cargo xtask chaos`).
#[tokio::test(flavor = "multi_thread")]
async fn a_short_campaign_of_every_kind_of_fault_ends_with_a_clean_ledger() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (duration, data) = (Duration::from_secs(60), folder.path().join("data"));
    campaign(Options { seed: 4, duration, plants: 2, only: Vec::new(), memory_disks: false, data }).await
}
