//! The signals that ask a program to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Listens to SIGTERM and SIGINT from now on; the future ends with the first and says which.
///
/// # Errors
/// The process may not listen to signals.
pub fn stop_signal() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}
