//! What people want to see of the fleet: gateways, machines, samples, alarms, the ledger.
//!
//! The rows and queries of the read port, and the pure work on them: reducing samples to what a chart
//! can show ([`Collector`]), folding transitions into alarms ([`AlarmRow::apply`]), and the latest state
//! of everything in memory ([`LiveView`]). No clock, no database, no HTTP.

mod alarms;
mod collector;
mod cursor;
mod latest;
mod live_view;
mod port;
mod rows;

pub use alarms::{AlarmFilter, AlarmKey, AlarmRow, JournalRow};
pub use collector::{Bucket, Collector, SampleQuery, SampleSet, SeriesData, Shape, TagInfo, TagSamples};
pub use cursor::{Cursor, CursorError};
pub use latest::{FUTURE_MAX, GatewayLatest, LatestSample};
pub use live_view::{GatewayHealth, LinkState, LiveView, MachineState, MachineUpdate, MachineView, Presence};
pub use port::{FleetStore, PortFuture, StoreError};
pub use rows::{ClockRow, DroppedRow, GapRow, GatewayInfo, LedgerRow, MachineInfo, QuarantineRow};
