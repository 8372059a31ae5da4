//! The random campaign: plants that run, faults of every kind that follow from a seed, and a ledger at the end.
//!
//! Each step makes one or two faults, ends them, and waits until every plant has delivered something that it committed
//! afterwards: that is the recovery. The same seed chooses the same faults in the same order; how many fit into the time
//! depends on the machine. At the end all faults are over, the agents deliver what they hold and stop, and the stores are
//! held against the buffers and against what the machines counted themselves.

mod fault;
mod ledger;
mod script;
mod site;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};

use crate::api::{Api, now_us};
use crate::factory::{Backend, Programs, add_user};

pub use fault::{Kind, UnknownKind};
pub use ledger::Ledger;

use ledger::Incident;
use script::{Script, Strike};
use site::Site;

/// How long the plants may take to deliver again after a fault; silence alone is noticed after 25 s.
const RECOVERY: Duration = Duration::from_secs(90);

/// How long all that is left may take to be delivered at the end.
const SETTLING: Duration = Duration::from_secs(180);

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// What all choices follow from.
    pub seed: u64,
    /// How long to make faults.
    pub duration: Duration,
    /// Plants, each with a tenant, machines, an agent, a link and every second with a broker; 1 to 3.
    pub plants: usize,
    /// The kinds of faults; empty for all that can be made here.
    pub only: Vec<Kind>,
    /// Buffers lie on disks in memory, which can be filled. Needs the right to mount.
    pub memory_disks: bool,
    /// Where everything is kept; must be empty or missing.
    pub data: PathBuf,
}

/// Runs a campaign. `say` gets a line for each step; `ended` ends it early.
///
/// # Errors
/// The plants do not start or cannot be judged. Losses are no errors: the ledger tells them.
pub async fn run(options: &Options, say: impl Fn(&str), ended: impl Future<Output = ()>) -> Result<Ledger> {
    let mut campaign = Campaign::start(options).await?;
    let began = Instant::now();
    tokio::pin!(ended);
    let mut over = false;
    while !over && began.elapsed() < options.duration {
        let step = campaign.script.next_step();
        let told = campaign.strike(&step).await?;
        say(&format!("{:>6.1} s  {told}", began.elapsed().as_secs_f64()));
        tokio::select! {
            () = sleep(step.calm) => {}
            () = &mut ended => over = true,
        }
    }
    say("the faults are over: delivering what is left, then the ledger");
    campaign.settle().await
}

struct Campaign {
    seed: u64,
    script: Script,
    backend: Backend,
    sites: Vec<Site>,
    api: Api,
    incidents: Vec<Incident>,
    breaches: Vec<String>,
}

impl Campaign {
    async fn start(options: &Options) -> Result<Self> {
        ensure!((1..=3).contains(&options.plants), "{} plants; 1 to 3 are allowed", options.plants);
        std::fs::create_dir_all(&options.data)?;
        let is_empty = std::fs::read_dir(&options.data)?.next().is_none();
        ensure!(is_empty, "{} is not empty", options.data.display());
        let programs = Programs::beside_this_one()?;
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let backend = Backend::start(&programs, &options.data.join("backend"), any, any).await?;
        let mut sites = Vec::new();
        for number in 0..options.plants {
            sites.push(Site::start(&programs, &backend, options, number).await?);
        }
        let account = add_user(&backend, "auditor", &["--platform-operator"]).await?;
        let api = Api::sign_in(backend.state.http, &account.user, &account.password).await?;
        let script = Script::new(options.seed, options.plants, kinds(options))?;
        let mut campaign = Self {
            seed: options.seed,
            script,
            backend,
            sites,
            api,
            incidents: Vec::new(),
            breaches: Vec::new(),
        };
        ensure!(campaign.recovered().await?.is_some(), "the plants did not deliver within {RECOVERY:?}");
        Ok(campaign)
    }

    /// Makes the faults of a step, ends them, waits for the recovery; says what happened.
    async fn strike(&mut self, step: &script::Step) -> Result<String> {
        let from_us = now_us();
        for strike in &step.strikes {
            for site in &self.sites {
                site.alarm(strike.choice).await?;
            }
            let made = self.make(strike).await;
            made.with_context(|| format!("seed {}: {strike:?} could not be made", self.seed))?;
            sleep(strike.hold).await;
        }
        for strike in step.strikes.iter().rev() {
            let ended = self.end(strike).await;
            ended.with_context(|| format!("seed {}: {strike:?} could not be ended", self.seed))?;
        }
        let recovery = self.recovered().await?;
        for strike in &step.strikes {
            let plant = (!strike.kind.is_of_backend()).then_some(strike.plant);
            self.incidents.push(Incident { kind: strike.kind, plant, from_us, to_us: now_us(), recovery });
        }
        self.check_identity().await;
        let names: Vec<String> = step.strikes.iter().map(Strike::to_string).collect();
        Ok(match recovery {
            Some(time) => format!("{}: delivered again after {:.1} s", names.join(" + "), time.as_secs_f64()),
            None => format!("{}: NOT delivered again within {RECOVERY:?}", names.join(" + ")),
        })
    }

    async fn make(&mut self, strike: &Strike) -> Result<()> {
        if strike.kind == Kind::BackendKill {
            self.backend.service.kill().await
        } else if strike.kind == Kind::BackendFreeze {
            self.backend.service.suspend()
        } else {
            self.sites[strike.plant].make(strike).await
        }
    }

    async fn end(&mut self, strike: &Strike) -> Result<()> {
        if strike.kind == Kind::BackendKill {
            self.backend.restart().await
        } else if strike.kind == Kind::BackendFreeze {
            self.backend.service.resume()
        } else {
            self.sites[strike.plant].end(strike).await
        }
    }

    /// Waits until every plant has delivered what it committed after now; `None` if one does not in time.
    async fn recovered(&mut self) -> Result<Option<Duration>> {
        let began = Instant::now();
        let mut marks = Vec::new();
        for site in &self.sites {
            marks.push(site.committed().await?);
        }
        for (site, mark) in self.sites.iter().zip(marks) {
            while !site.has_delivered_beyond(mark).await {
                if began.elapsed() > RECOVERY {
                    return Ok(None);
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(Some(began.elapsed()))
    }

    /// `received = stored + duplicate + rejected`, for every stream of every plant, at this moment.
    async fn check_identity(&mut self) {
        for site in &self.sites {
            let tenant = &site.plant.tenant;
            // A backend that does not answer now is judged at the end.
            let Ok(rows) = self.api.items(&format!("/tenants/{tenant}/ledger")).await else { continue };
            self.breaches.extend(
                rows.iter().filter(|row| !ledger::balances(row)).map(|row| format!("{tenant}: {row}")),
            );
        }
    }

    async fn settle(mut self) -> Result<Ledger> {
        let mut ledger = Ledger::new(self.seed, &self.incidents);
        self.check_identity().await;
        for (number, site) in self.sites.iter_mut().enumerate() {
            site.deliver_all(&self.backend, SETTLING).await?;
            ledger.judge(number, site, &self.backend)?;
        }
        self.check_identity().await;
        ledger.breaches = self.breaches;
        Ok(ledger)
    }
}

/// What can be made with these options.
fn kinds(options: &Options) -> Vec<Kind> {
    let wanted = |kind: &Kind| options.only.is_empty() || options.only.contains(kind);
    let possible = |kind: &Kind| {
        (options.memory_disks || *kind != Kind::DiskFull) && (options.plants > 1 || !kind.is_of_broker())
    };
    Kind::ALL.iter().copied().filter(wanted).filter(possible).collect()
}
