//! The TCP front of a machine or line: a link with faults, behind which the protocol server listens on a private port.
//!
//! It does to connections and bytes what the mode of the line asks, and ends modes that end by themselves.

use std::{net::SocketAddr, sync::Arc};

use tokio::time::{Duration, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{chaos::Proxy, line::Line, mode::Mode, ua_server::UaServer};

/// More clients than a real controller takes; further ones are closed at once.
pub(crate) const CONNECTIONS_MAX: usize = 16;
/// Pause before a server that did not start again is started once more.
const RETRY: Duration = Duration::from_secs(1);

/// What a restart restarts.
pub(crate) enum Behind {
    /// Nothing: requests know of no sessions.
    Stateless,
    /// A server that forgets its sessions and subscriptions.
    Ua(UaServer),
}

/// The front of a line.
pub(crate) struct Front {
    pub(crate) line: Arc<Line>,
    pub(crate) proxy: Proxy,
    pub(crate) behind: Behind,
}

impl Front {
    /// A front at `address` that leads nowhere yet.
    pub(crate) fn bind(address: SocketAddr, seed: u64) -> std::io::Result<Proxy> {
        Proxy::with_limit(address, address, seed, CONNECTIONS_MAX)
    }

    /// Follows the modes of the line until the token is cancelled.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.follow()).await;
        self.proxy.stop().await;
    }

    async fn follow(&mut self) {
        let line = Arc::clone(&self.line);
        let mut modes = line.modes();
        loop {
            let mode = *modes.borrow_and_update();
            if let Err(error) = self.proxy.set(mode.faults(line.protocol())).await {
                warn!(line = line.id(), %error, "the mode is not in force yet");
                modes.mark_changed();
                continue;
            }
            if mode == Mode::HalfDead {
                self.proxy.forget();
            }
            line.confirm(mode);
            if let Mode::Restart { down_ms } = mode {
                self.restart(Duration::from_millis(u64::from(down_ms))).await;
                line.recover_from(mode);
            }
            if modes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Stays away, forgets what there is to forget, and comes back.
    async fn restart(&mut self, down: Duration) {
        let Behind::Ua(server) = &mut self.behind else { return sleep(down).await };
        server.stop().await;
        sleep(down).await;
        while let Err(problem) = server.start().await {
            error!(line = self.line.id(), %problem, "the server did not start again, trying on");
            sleep(RETRY).await;
        }
        self.proxy.retarget(server.address());
    }
}
