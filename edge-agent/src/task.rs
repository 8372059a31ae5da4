//! A task that can be ended by itself.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// A task and the way to end it.
pub(crate) struct Task {
    stop: CancellationToken,
    handle: JoinHandle<()>,
}

impl Task {
    /// Starts what ends when its token is cancelled.
    pub(crate) fn spawn<F>(on: &Handle, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self { handle: on.spawn(run(stop.clone())), stop }
    }
}

/// Asks tasks to end and waits until they have; what takes longer than `limit` is ended where it stands. Says whether
/// all ended by themselves.
pub(crate) async fn join_all(tasks: Vec<Task>, limit: Duration) -> bool {
    tasks.iter().for_each(|task| task.stop.cancel());
    let (until, mut in_time) = (Instant::now() + limit, true);
    for Task { mut handle, .. } in tasks {
        match timeout_at(until, &mut handle).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error = %error, "a task panicked"),
            Err(_) => {
                in_time = false;
                handle.abort();
                // It is aborted at its next wait; whatever it held is free then.
                let _ = handle.await;
            }
        }
    }
    in_time
}
