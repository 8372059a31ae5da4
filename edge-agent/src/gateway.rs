//! The gateway's driver of itself: what it measures of itself goes the way of every machine's readings, through its
//! alarms into the recorder ([`edge_config::GatewayTag`] says what there is).

use std::sync::Arc;
use std::time::Duration;

use acquisition::{DriverCounters, LinkState, MachineSink, Reading};
use edge_config::GatewayTag;
use edge_store::{BufferHealth, RecorderCounters};
use plant_model::{Quality, Sample, Value};
use service_kit::Clock;
use tokio_util::sync::CancellationToken;

use crate::certificate::{self, Certificate, Left};
use crate::promise::{Lately, Punctuality};

/// The shortest time between two measurements, however often something is to be told.
const PAUSE: Duration = Duration::from_secs(1);

/// What the gateway looks at.
pub(crate) struct Gauges {
    pub recorder: Arc<RecorderCounters>,
    pub punctuality: Arc<Punctuality>,
    pub certificate: Certificate,
    pub clock: Clock,
}

impl Gauges {
    fn measure(&self) -> Vec<Reading> {
        let lately = self.punctuality.take();
        GatewayTag::ALL.into_iter().map(|tag| self.reading(tag, self.value(tag, lately))).collect()
    }

    /// `None` while it is not known yet.
    #[expect(clippy::cast_precision_loss, reason = "bytes of a disk and seconds to be looked at")]
    fn value(&self, tag: GatewayTag, lately: Lately) -> Option<Value> {
        let recorder = &self.recorder;
        Some(match tag {
            GatewayTag::BufferFill => Value::Float(recorder.fill()? * 100.0),
            GatewayTag::BufferWritable => Value::Bool(recorder.health() == BufferHealth::Writable),
            GatewayTag::BacklogAge => {
                let oldest = recorder.oldest_undelivered();
                Value::Float(oldest.map_or(0.0, |at| self.clock.wall().since(at).as_secs() as f64))
            }
            GatewayTag::LateAlarms => Value::Int(i64::try_from(lately.late).unwrap_or(i64::MAX)),
            GatewayTag::AlarmLatency => Value::Float(lately.longest.as_millis() as f64),
            GatewayTag::CertificateDaysLeft => Value::Float(self.certificate_left()?.days),
            GatewayTag::CertificateLifeLeft => Value::Float(self.certificate_left()?.percent),
        })
    }

    fn certificate_left(&self) -> Option<Left> {
        certificate::left(&self.certificate, self.clock.wall())
    }

    /// Until the next measurement: a certificate of a short life is looked at a hundred times in it, so that its alarms
    /// come before its end.
    fn interval(&self) -> Duration {
        let left = self.certificate_left().filter(|left| left.percent > 0.0);
        let hundredth = left.and_then(|l| Duration::try_from_secs_f64(l.days / l.percent * 86_400.0).ok());
        hundredth.unwrap_or(GatewayTag::INTERVAL).clamp(PAUSE, GatewayTag::INTERVAL)
    }

    fn reading(&self, tag: GatewayTag, value: Option<Value>) -> Reading {
        let quality = if value.is_some() { Quality::GOOD } else { Quality::BAD_WAITING_FOR_INITIAL_DATA };
        let gateway_timestamp = self.clock.wall().to_whole_millis();
        let sample = Sample { value, quality, source_timestamp: None, gateway_timestamp };
        Reading { tag: tag.index(), sample, received_at: self.clock.now() }
    }
}

/// Measures every [`GatewayTag::INTERVAL`] or more often, and soon after an alarm was late, until `stop` is cancelled.
pub(crate) async fn run(
    gauges: Gauges,
    mut sink: Box<dyn MachineSink>,
    counters: Arc<DriverCounters>,
    stop: CancellationToken,
) {
    sink.link(LinkState::Up);
    loop {
        let readings = gauges.measure();
        let count = u64::try_from(readings.len()).unwrap_or(0);
        counters.scheduled_samples.add(count);
        counters.acquired_samples.add(count);
        sink.accept(&readings);
        let next = async {
            tokio::time::sleep(PAUSE).await;
            let rest = tokio::time::sleep(gauges.interval() - PAUSE);
            tokio::select! {
                () = rest => {}
                () = gauges.punctuality.broken() => {}
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = next => {}
        }
    }
}
