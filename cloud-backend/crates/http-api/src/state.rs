//! What the handlers work with.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleet::FleetStore;
use service_kit::Clock;
use tenancy::{LoginGuard, TenancyStore};
use tokio_util::sync::CancellationToken;

use crate::metrics::{Exposition, HttpMetrics};
use crate::password::{PasswordError, Passwords};
use crate::{Commands, Configurations, History, LiveFeed, Rollouts};

/// What a port answers: a future that can be sent between threads.
pub type PortFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the program around the API can say about itself.
pub trait Operations: Send + Sync {
    /// Whether it does its work.
    ///
    /// # Errors
    /// The reason why not, for people.
    fn ready(&self) -> PortFuture<'_, Result<(), String>>;

    /// Adds its metrics.
    fn expose(&self, out: &mut Exposition);
}

/// Everything the API needs from outside. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub(crate) fleet: Arc<dyn FleetStore>,
    pub(crate) history: History,
    pub(crate) tenancy: Arc<dyn TenancyStore>,
    pub(crate) live: LiveFeed,
    pub(crate) commands: Commands,
    pub(crate) configurations: Configurations,
    pub(crate) rollouts: Rollouts,
    pub(crate) operations: Arc<dyn Operations>,
    pub(crate) clock: Clock,
    pub(crate) passwords: Passwords,
}

/// What an [`ApiState`] is made of.
pub struct ApiParts {
    /// What gateways sent.
    pub fleet: Arc<dyn FleetStore>,
    /// The tiers of samples.
    pub history: History,
    /// Tenants, users and gateways.
    pub tenancy: Arc<dyn TenancyStore>,
    /// The feed of live values.
    pub live: LiveFeed,
    /// The way of commands.
    pub commands: Commands,
    /// The configurations of gateways.
    pub configurations: Configurations,
    /// The updates of agents.
    pub rollouts: Rollouts,
    /// The program.
    pub operations: Arc<dyn Operations>,
    /// The time.
    pub clock: Clock,
}

impl ApiState {
    /// From its parts.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn new(parts: ApiParts) -> Result<Self, PasswordError> {
        let ApiParts { fleet, history, tenancy, live, commands, configurations, rollouts, operations, clock } =
            parts;
        let passwords = Passwords::new()?;
        Ok(Self {
            fleet,
            history,
            tenancy,
            live,
            commands,
            configurations,
            rollouts,
            operations,
            clock,
            passwords,
        })
    }
}

impl fmt::Debug for ApiParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiParts").finish_non_exhaustive()
    }
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState").finish_non_exhaustive()
    }
}

/// The state of one running API.
pub(crate) struct App {
    pub(crate) outside: ApiState,
    pub(crate) metrics: HttpMetrics,
    pub(crate) shutdown: CancellationToken,
    guard: Mutex<LoginGuard>,
}

impl App {
    pub(crate) fn new(outside: ApiState, shutdown: CancellationToken) -> Self {
        Self { outside, metrics: HttpMetrics::default(), shutdown, guard: Mutex::new(LoginGuard::new()) }
    }

    /// The memory of failed sign-ins. Never held across an await.
    pub(crate) fn login_guard(&self) -> MutexGuard<'_, LoginGuard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
