//! A serial line: a device of this host, or a pseudo-terminal that is made for it.
//!
//! Of a pseudo-terminal the simulator holds the controlling side only; the other side is what clients open, under a link
//! with a name that stays. It fails to be read while no client has it open, which is not the end of it: were it held
//! open here, the exclusive mark of a client that was killed would stay on it. When the line refuses, the
//! pseudo-terminal is gone, as when an adapter is pulled out; afterwards the link leads to a new one.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{copy, sink},
    time::sleep,
};
use tokio_serial::{SerialPort, SerialPortBuilderExt, SerialStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::bus::Bus;
use crate::{line::Line, mode::Mode, plant_file::SerialDevice};

/// Pause before a device that is gone is tried again.
const REOPEN: Duration = Duration::from_millis(100);
/// Pause before a pseudo-terminal that no client has open is read again.
const NO_CLIENT: Duration = Duration::from_millis(20);

/// An open line.
pub(crate) struct Port {
    stream: SerialStream,
    /// The link to the other side of a pseudo-terminal.
    link: Option<LinkFile>,
}

/// Opens a line.
pub(crate) fn open(device: &SerialDevice, baud_rate: u32) -> io::Result<Port> {
    match device {
        SerialDevice::Pty(path) => {
            let (stream, far) = SerialStream::pair()?;
            let name = far.name().ok_or_else(|| io::Error::other("the pseudo-terminal has no name"))?;
            let link = LinkFile::make(path, Path::new(&name))?;
            Ok(Port { stream, link: Some(link) })
        }
        SerialDevice::Path(path) => {
            let path = path.to_str().ok_or_else(|| io::Error::other("the path is no text"))?;
            Ok(Port { stream: tokio_serial::new(path, baud_rate).open_native_async()?, link: None })
        }
    }
}

/// A symbolic link that is removed when dropped.
struct LinkFile(PathBuf);

impl LinkFile {
    fn make(path: &Path, target: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        match fs::symlink_metadata(path) {
            // Left by a simulator that was killed.
            Ok(found) if found.is_symlink() => fs::remove_file(path)?,
            Ok(_) => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no link"));
            }
            Err(_) => {}
        }
        symlink(target, path)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for LinkFile {
    fn drop(&mut self) {
        // Somebody may have removed it; then there is nothing to do.
        let _ = fs::remove_file(&self.0);
    }
}

/// A line that is served until the token is cancelled.
pub(crate) struct Serial {
    pub(crate) bus: Arc<Bus>,
    pub(crate) line: Arc<Line>,
    pub(crate) device: SerialDevice,
    pub(crate) baud_rate: u32,
}

impl Serial {
    pub(crate) async fn run(self, port: Port, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.follow(Some(port))).await;
    }

    /// Opens and closes the device and serves it, as the mode of the line asks.
    async fn follow(&self, mut port: Option<Port>) {
        let mut modes = self.line.modes();
        loop {
            let mode = *modes.borrow_and_update();
            port = self.port_for(mode, port);
            let closed = matches!(mode, Mode::Refuse | Mode::Restart { .. });
            if port.is_none() && !closed {
                sleep(REOPEN).await;
                continue;
            }
            self.line.confirm(mode);
            tokio::select! {
                changed = modes.changed() => if changed.is_err() { return },
                () = self.work(mode, port.as_mut()) => port = None,
            }
        }
    }

    fn port_for(&self, mode: Mode, port: Option<Port>) -> Option<Port> {
        match (mode, port) {
            (Mode::Refuse | Mode::Restart { .. }, _) => None,
            (_, Some(port)) => Some(port),
            (_, None) => open(&self.device, self.baud_rate)
                .inspect_err(
                    |error| warn!(line = self.line.id(), %error, "cannot open the device, trying on"),
                )
                .ok(),
        }
    }

    /// Ends when the device failed.
    async fn work(&self, mode: Mode, port: Option<&mut Port>) {
        let Some(Port { stream, link }) = port else {
            return wait_for_recovery(&self.line, mode).await;
        };
        loop {
            let ended = self.serve(mode, stream).await;
            if link.is_none() {
                debug!(line = self.line.id(), ?ended, "the serial device failed");
                return;
            }
            sleep(NO_CLIENT).await;
        }
    }

    async fn serve(&self, mode: Mode, stream: &mut SerialStream) -> io::Result<()> {
        if mode == Mode::Hole {
            return copy(stream, &mut sink()).await.map(drop);
        }
        self.bus.serve(stream).await
    }
}

/// Ends a restart after its time; waits without end for the end of other modes.
pub(crate) async fn wait_for_recovery(line: &Line, mode: Mode) {
    if let Mode::Restart { down_ms } = mode {
        sleep(Duration::from_millis(u64::from(down_ms))).await;
        line.recover_from(mode);
    }
    std::future::pending().await
}
