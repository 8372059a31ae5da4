//! What a machine hangs on: an address of its own, or a line that it shares with others.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::{sync::watch, time::timeout};

use crate::{
    error::SimulatorError,
    kind::Protocol,
    mode::{Mode, Subject},
    report::LineReport,
};

/// Time the listener gets to take over a new mode. An OPC UA server with 100,000 nodes takes seconds to start again.
const MODE_DEADLINE: Duration = Duration::from_secs(5);

/// Where clients find a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Place {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A serial device.
    Device(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Device(path) => path.display().fmt(f),
        }
    }
}

/// A line, with the machines on it, or the address of a machine that has its own.
pub struct Line {
    id: String,
    protocol: Protocol,
    place: Place,
    shared: bool,
    mode: watch::Sender<Mode>,
    in_force: watch::Sender<Option<Mode>>,
    traffic: Arc<Traffic>,
}

/// What was seen on a Modbus line.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) requests: AtomicU64,
    pub(crate) unanswered: AtomicU64,
    pub(crate) dropped_bytes: AtomicU64,
}

impl Traffic {
    pub(crate) fn count(counter: &AtomicU64, number: u64) {
        counter.fetch_add(number, Ordering::Relaxed);
    }
}

impl Line {
    pub(crate) fn new(id: &str, protocol: Protocol, place: Place, shared: bool, mode: Mode) -> Self {
        Self {
            id: id.to_owned(),
            protocol,
            place,
            shared,
            mode: watch::Sender::new(mode),
            in_force: watch::Sender::new(None),
            traffic: Arc::default(),
        }
    }

    /// Identifier: of the line, or of the only machine.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is spoken on it.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Where clients find it.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The TCP address, unless it is a serial device.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.place {
            Place::Tcp(address) => Some(address),
            Place::Device(_) => None,
        }
    }

    /// The serial device, unless it is a TCP address.
    pub fn device(&self) -> Option<&Path> {
        match &self.place {
            Place::Tcp(_) => None,
            Place::Device(path) => Some(path),
        }
    }

    /// Whether it is a line of the plant file, and not the address of one machine.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// How it behaves now.
    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    /// Changes how the line behaves and waits until it does so.
    ///
    /// # Errors
    /// It is no mode of a line, a number is out of range, or the listener did not follow within 5 s.
    pub async fn set_mode(&self, mode: Mode) -> Result<(), SimulatorError> {
        let bad = |reason| SimulatorError::BadMode { subject: format!("line {:?}", self.id), reason };
        self.apply(mode.checked(self.subject()).map_err(bad)?).await
    }

    pub(crate) fn subject(&self) -> Subject {
        match (&self.place, self.shared) {
            (_, false) => Subject::Machine(self.protocol),
            (Place::Tcp(_), true) => Subject::TcpLine,
            (Place::Device(_), true) => Subject::SerialLine,
        }
    }

    /// Sets a mode that was checked.
    pub(crate) async fn apply(&self, mode: Mode) -> Result<(), SimulatorError> {
        self.mode.send_replace(mode);
        self.settled(mode).await
    }

    /// Waits until the mode is in force.
    pub(crate) async fn settled(&self, mode: Mode) -> Result<(), SimulatorError> {
        let mut in_force = self.in_force.subscribe();
        match timeout(MODE_DEADLINE, in_force.wait_for(|current| *current == Some(mode))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(SimulatorError::ModeNotApplied { line: self.id.clone(), mode }),
        }
    }

    /// Ends a mode that ends by itself, unless another one was set meanwhile.
    pub(crate) fn recover_from(&self, mode: Mode) {
        self.mode.send_if_modified(|current| {
            let unchanged = *current == mode;
            if unchanged {
                *current = Mode::Healthy;
            }
            unchanged
        });
    }

    pub(crate) fn modes(&self) -> watch::Receiver<Mode> {
        self.mode.subscribe()
    }

    pub(crate) fn confirm(&self, mode: Mode) {
        self.in_force.send_replace(Some(mode));
    }

    pub(crate) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// The line at a glance, with the ids of its machines.
    pub(crate) fn report(&self, machines: Vec<String>) -> LineReport {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LineReport {
            id: self.id.clone(),
            protocol: self.protocol,
            endpoint: self.place.to_string(),
            mode: self.mode(),
            machines,
            requests: value(&self.traffic.requests),
            unanswered: value(&self.traffic.unanswered),
            dropped_bytes: value(&self.traffic.dropped_bytes),
        }
    }
}
