//! What the handlers work with.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleet::FleetStore;
use service_kit::Clock;
use tenancy::{LoginGuard, TenancyStore};
use tokio_util::sync::CancellationToken;

use crate::metrics::{Exposition, HttpMetrics};
use crate::password::{PasswordError, Passwords};
use crate::{Commands, Configurations, History, LiveFeed};

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
    pub(crate) operations: Arc<dyn Operations>,
    pub(crate) clock: Clock,
    pub(crate) passwords: Passwords,
}

impl ApiState {
    /// From the stores, the tiers of samples, the feed of live values, the way of commands, the configurations of
    /// gateways, and the program.
    ///
    /// # Errors
    /// The system gave no random bytes.
    #[expect(clippy::too_many_arguments, reason = "each is another part of the program")]
    pub fn new(
        fleet: Arc<dyn FleetStore>,
        history: History,
        tenancy: Arc<dyn TenancyStore>,
        live: LiveFeed,
        commands: Commands,
        configurations: Configurations,
        operations: Arc<dyn Operations>,
        clock: Clock,
    ) -> Result<Self, PasswordError> {
        Ok(Self {
            fleet,
            history,
            tenancy,
            live,
            commands,
            configurations,
            operations,
            clock,
            passwords: Passwords::new()?,
        })
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
