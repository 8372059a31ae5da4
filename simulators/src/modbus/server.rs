//! The private TCP listener of a machine or line; its public address is the front's.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::bus::Bus;

/// Pause before accepting again after the listener failed, for example for lack of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves until the token is cancelled.
pub(crate) async fn serve(bus: Arc<Bus>, listener: TcpListener, shutdown: CancellationToken) {
    shutdown.run_until_cancelled(accept(bus, listener)).await;
}

async fn accept(bus: Arc<Bus>, listener: TcpListener) {
    // The front bounds how many there are; they end when this set is dropped.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let bus = Arc::clone(&bus);
                connections.spawn(async move {
                    let served = async {
                        stream.set_nodelay(true)?;
                        bus.serve(stream).await
                    };
                    if let Err(error) = served.await {
                        debug!(%error, "a Modbus connection ended");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a Modbus connection, trying again");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}
