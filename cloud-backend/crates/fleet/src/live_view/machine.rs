//! The latest of one machine.

use plant_model::{QualityClass, Sample, Timestamp, Value};
use protocol::{CatalogueMachine, MachineLink, TagRole};

/// Whether the gateway reaches a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LinkState {
    /// Nobody said yet, or nobody can say now.
    #[default]
    Unknown,
    /// It does.
    Up,
    /// It does not.
    Down {
        /// Why, for people.
        reason: String,
    },
}

impl LinkState {
    pub(super) fn from_live(link: &MachineLink) -> Self {
        if link.up { Self::Up } else { Self::Down { reason: link.reason.clone() } }
    }

    /// The name used in the API.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down { .. } => "down",
        }
    }
}

/// What a machine does, by the tag whose role is to say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineState {
    /// 0: it produces.
    Running,
    /// 1: it could, and does not.
    Idle,
    /// 2: it cannot.
    Down,
    /// 3: it is being prepared.
    Setup,
}

impl MachineState {
    /// The name used in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Idle => "idle",
            Self::Down => "down",
            Self::Setup => "setup",
        }
    }

    /// What a sample of the state tag says; `None` when it is bad or says a number without a meaning.
    fn of(sample: &Sample) -> Option<Self> {
        if sample.quality.class() == QualityClass::Bad {
            return None;
        }
        match sample.value.as_ref().and_then(Value::as_f64) {
            Some(0.0) => Some(Self::Running),
            Some(1.0) => Some(Self::Idle),
            Some(2.0) => Some(Self::Down),
            Some(3.0) => Some(Self::Setup),
            Some(_) | None => None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Latest {
    pub(super) link: LinkState,
    /// In the order of the tags of the definition.
    pub(super) samples: Vec<Option<Sample>>,
    /// The state and since when, once a sample of it came.
    pub(super) state: Option<(Option<MachineState>, Timestamp)>,
}

impl Latest {
    /// The latest of a machine under its new definition.
    pub(super) fn adopt(new: &CatalogueMachine, old: Option<(&CatalogueMachine, &Self)>) -> Self {
        let Some((definition, old)) = old else {
            return Self { samples: vec![None; new.tags.len()], ..Self::default() };
        };
        let known = |id| definition.tags.iter().position(|t| t.definition.id == id);
        let samples = new.tags.iter().map(|t| old.samples.get(known(t.definition.id.clone())?)?.clone());
        Self { link: old.link.clone(), samples: samples.collect(), state: old.state }
    }

    /// Takes a sample unless a newer one is known; `since` is when its value began.
    pub(super) fn take(&mut self, tag: usize, role: TagRole, sample: &Sample, since: Timestamp) -> bool {
        let Some(known) = self.samples.get_mut(tag) else { return false };
        if known.as_ref().is_some_and(|k| k.timestamp() > sample.timestamp()) {
            return false;
        }
        *known = Some(sample.clone());
        if role == TagRole::State {
            let state = MachineState::of(sample);
            if self.state.is_none_or(|(before, _)| before != state) {
                self.state = Some((state, since));
            }
        }
        true
    }
}
