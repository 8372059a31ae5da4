//! The gateway as a machine of its own: what it measures of itself, and the alarms over that.
//!
//! It is one more machine of the plant, with the reserved id [`GATEWAY_ID`]: catalogue, recorder, alarms, outputs
//! and the status page need no other way for it. One more thing to watch is one more [`GatewayTag`], one more alarm
//! here, and a line where the agent measures it.

use std::path::PathBuf;
use std::time::Duration;

use acquisition::{OnChange, TagIndex};
use plant_model::{
    AlarmCondition, AlarmDefinition, AlarmId, AlarmPriority, DataType, Enumeration, GatewayId, LimitKind,
    MachineId, NormalState, TagDefinition, TagId, Value,
};
use protocol::{GATEWAY_ID, TagRole};

use crate::agent;
use crate::machine::{Budgets, Connection, MachineConfig, Origin, TagConfig};

/// How long all alarms must have been in time before the promise counts as kept again: nobody is to
/// overlook it.
const QUIET: Duration = Duration::from_secs(600);

/// What the gateway measures of itself, every [`GatewayTag::INTERVAL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayTag {
    /// How much of the buffer is taken by what the backend does not have yet, in percent.
    BufferFill,
    /// Whether the buffer commits.
    BufferWritable,
    /// How long ago the oldest batch was committed that the backend does not have, in seconds.
    BacklogAge,
    /// Alarms that were raised later than their budget since the last measurement.
    LateAlarms,
    /// The longest that an alarm took since the last measurement, in milliseconds; 0 without any.
    AlarmLatency,
    /// Days until the end of the gateway's certificate; negative after it.
    CertificateDaysLeft,
    /// How much of the life of the gateway's certificate is left, in percent. It is renewed at a third.
    CertificateLifeLeft,
}

impl GatewayTag {
    /// All of them, in the order of the gateway's tags.
    pub const ALL: [Self; 7] = [
        Self::BufferFill,
        Self::BufferWritable,
        Self::BacklogAge,
        Self::LateAlarms,
        Self::AlarmLatency,
        Self::CertificateDaysLeft,
        Self::CertificateLifeLeft,
    ];

    /// How often they are measured: seldom enough to cost nothing, often enough to act on.
    pub const INTERVAL: Duration = Duration::from_secs(10);

    /// What stands still is recorded this often.
    const HEARTBEAT: Duration = Duration::from_secs(300);

    /// Its position among the gateway's tags.
    #[must_use]
    pub const fn index(self) -> TagIndex {
        TagIndex(self as u16)
    }

    const fn id(self) -> &'static str {
        match self {
            Self::BufferFill => "buffer_fill",
            Self::BufferWritable => "buffer_writable",
            Self::BacklogAge => "backlog_age",
            Self::LateAlarms => "late_alarms",
            Self::AlarmLatency => "alarm_latency",
            Self::CertificateDaysLeft => "certificate_days_left",
            Self::CertificateLifeLeft => "certificate_life_left",
        }
    }

    /// Name, unit, type, and by how much the value must move to be recorded.
    const fn about(self) -> (&'static str, &'static str, DataType, f64) {
        match self {
            Self::BufferFill => ("Buffer not delivered", "%", DataType::Float, 1.0),
            Self::BufferWritable => ("Buffer can be written", "", DataType::Bool, 0.0),
            Self::BacklogAge => ("Age of the oldest batch not delivered", "s", DataType::Float, 60.0),
            Self::LateAlarms => ("Alarms later than their budget", "", DataType::Int, 0.0),
            Self::AlarmLatency => ("Longest time to an alarm", "ms", DataType::Float, 50.0),
            Self::CertificateDaysLeft => ("Certificate, days left", "d", DataType::Float, 0.5),
            Self::CertificateLifeLeft => ("Certificate, life left", "%", DataType::Float, 1.0),
        }
    }

    fn tag(self) -> TagConfig {
        let (name, unit, data_type, deadband) = self.about();
        let is_headline = matches!(self, Self::BufferFill | Self::BacklogAge | Self::LateAlarms);
        TagConfig {
            definition: TagDefinition {
                id: tag_id(self),
                name: name.to_owned(),
                unit: unit.to_owned(),
                data_type,
                enumeration: Enumeration::default(),
            },
            role: if is_headline { TagRole::Headline } else { TagRole::Plain },
            report: OnChange::new(deadband, Self::HEARTBEAT).ok(),
        }
    }
}

fn tag_id(tag: GatewayTag) -> TagId {
    TagId::new(tag.id()).expect("ids of this file keep the rule")
}

/// The gateway's own entry among its machines.
pub(crate) fn machine(id: &GatewayId, delivers: bool) -> MachineConfig {
    MachineConfig {
        id: MachineId::new(GATEWAY_ID).expect("an id that keeps the rule"),
        name: format!("Gateway {id}"),
        kind: GATEWAY_ID.to_owned(),
        connection: Connection::Gateway,
        tags: GatewayTag::ALL.into_iter().map(GatewayTag::tag).collect(),
        alarms: alarms(delivers),
        budgets: Budgets::new(),
        origin: Origin { file: PathBuf::from(agent::FILE), tag_lines: Vec::new(), alarm_lines: Vec::new() },
    }
}

fn alarms(delivers: bool) -> Vec<AlarmDefinition> {
    let mut alarms = vec![promise_broken(), not_writable()];
    // Without a backend nothing is ever delivered, and a full buffer is no news.
    if delivers {
        alarms.push(fill("buffer_filling", LimitKind::High, 80.0, AlarmPriority::Medium));
        alarms.push(fill("buffer_nearly_full", LimitKind::HighHigh, 95.0, AlarmPriority::High));
        alarms.push(ending("certificate_ending", LimitKind::Low, 25.0, AlarmPriority::High));
        alarms.push(ending("certificate_at_its_end", LimitKind::LowLow, 10.0, AlarmPriority::Critical));
    }
    alarms
}

fn promise_broken() -> AlarmDefinition {
    let condition = AlarmCondition::Limit {
        tag: tag_id(GatewayTag::LateAlarms),
        kind: LimitKind::High,
        limit: 0.0,
        deadband: 0.0,
    };
    let message = "An alarm was raised later than its budget allows: the status page of the gateway names it under \
                   late alarms. Look for a machine that answers slowly or not at all, or a bus without time left; \
                   edge-agent check shows what is possible";
    AlarmDefinition {
        off_delay: QUIET,
        ..alarm("alarm_promise_broken", condition, AlarmPriority::High, message)
    }
}

fn not_writable() -> AlarmDefinition {
    let normal = NormalState::Values(vec![Value::Bool(true)]);
    let condition = AlarmCondition::OffNormal { tag: tag_id(GatewayTag::BufferWritable), normal };
    let message = "The buffer cannot be written: what is measured now is only in memory and will be lost. Check the \
                   disk of the gateway for space and errors; its status page names the reason";
    alarm("buffer_not_writable", condition, AlarmPriority::Critical, message)
}

fn fill(id: &str, kind: LimitKind, limit: f64, priority: AlarmPriority) -> AlarmDefinition {
    let tag = tag_id(GatewayTag::BufferFill);
    let condition = AlarmCondition::Limit { tag, kind, limit, deadband: 5.0 };
    let message = format!(
        "The buffer is filled to {limit} % with what the backend does not have; beyond it the oldest samples are \
         thinned and lost. Bring the connection to the backend back, or give the buffer more room (buffer.max_mib)"
    );
    alarm(id, condition, priority, &message)
}

/// A certificate is renewed when a third of its life is left: below that, renewals have failed.
fn ending(id: &str, kind: LimitKind, limit: f64, priority: AlarmPriority) -> AlarmDefinition {
    let tag = tag_id(GatewayTag::CertificateLifeLeft);
    let condition = AlarmCondition::Limit { tag, kind, limit, deadband: 5.0 };
    let message = format!(
        "Less than {limit} % of the life of the gateway's certificate is left and it was not renewed; after its end \
         nothing is delivered. The status page of the gateway names the reason; where renewing is impossible, enrol \
         the gateway again (edge-agent enrol)"
    );
    alarm(id, condition, priority, &message)
}

fn alarm(id: &str, condition: AlarmCondition, priority: AlarmPriority, message: &str) -> AlarmDefinition {
    let id = AlarmId::new(id).expect("ids of this file keep the rule");
    AlarmDefinition::new(id, condition, priority, message)
}

#[cfg(test)]
mod tests {
    use alarm_engine::AlarmEngine;

    use crate::load;
    use crate::tests::{BARE_AGENT, Folder, OPCUA};

    #[test]
    fn the_gateway_is_the_last_of_its_machines_and_its_alarms_can_run() {
        let config = load(Folder::new(BARE_AGENT, &[("a.toml", OPCUA)]).path()).expect("good");
        let gateway = config.machines.last().expect("the gateway");
        assert_eq!((gateway.id.as_str(), gateway.connection.protocol()), ("gateway", "internal"));
        let tags: Vec<_> = gateway.tags.iter().map(|t| t.definition.id.clone()).collect();
        for (tag, id) in super::GatewayTag::ALL.into_iter().zip(&tags) {
            assert_eq!((tag.index().as_usize(), tag.id()), (tag as usize, id.as_str()));
        }
        assert!(gateway.tags.iter().all(|t| t.report.is_some()), "what stands still is recorded seldom");
        AlarmEngine::new(gateway.id.clone(), &tags, gateway.alarms.clone()).expect("sound");
    }

    #[test]
    fn a_full_buffer_and_an_ending_certificate_are_alarms_only_where_something_is_to_be_delivered() {
        let ids = |agent: &str| -> Vec<String> {
            let config = load(Folder::new(agent, &[("a.toml", OPCUA)]).path()).expect("good");
            config.machines.last().expect("the gateway").alarms.iter().map(|a| a.id.to_string()).collect()
        };
        assert_eq!(ids(BARE_AGENT), ["alarm_promise_broken", "buffer_not_writable"]);
        let uplink = "[uplink]\nhost = \"h\"\nca_file = \"a\"\ncertificate_file = \"b\"\nkey_file = \"c\"\n";
        let delivering =
            ["buffer_filling", "buffer_nearly_full", "certificate_ending", "certificate_at_its_end"];
        assert_eq!(ids(&format!("{BARE_AGENT}{uplink}"))[2..], delivering);
    }

    #[test]
    fn no_machine_may_have_the_name_of_the_gateway() {
        let text = OPCUA.replace("lathe-1", "gateway");
        let errors = Folder::new(BARE_AGENT, &[("a.toml", &text)]).errors();
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(
            said[0]
                .contains("a.toml:3: id = \"gateway\": is the gateway itself; give the machine another id"),
            "{said:?}"
        );
        assert_eq!(said.len(), 1);
    }
}
