//! The states of an alarm: orthogonal flags, and the one state that people see.

use crate::Timestamp;

/// The state of an alarm that people see (ISA-18.2-2016, figure 3; E and F are the latched pair).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlarmState {
    /// A: nothing to do.
    Normal,
    /// B: active, and nobody has acknowledged it.
    Unacknowledged,
    /// C: active and acknowledged.
    Acknowledged,
    /// D: the process has returned, and nobody has acknowledged that it was abnormal.
    ReturnedUnacknowledged,
    /// E: the process has returned; held, and nobody has acknowledged it.
    LatchedUnacknowledged,
    /// F: the process has returned; acknowledged, and held until it is reset.
    LatchedAcknowledged,
    /// G: hidden by a person for a time.
    Shelved,
    /// H: hidden by logic, for example while the machine is stopped.
    SuppressedByDesign,
    /// I: hidden by a person while it is being worked on.
    OutOfService,
}

impl AlarmState {
    /// All states, A to I.
    pub const ALL: [Self; 9] = [
        Self::Normal,
        Self::Unacknowledged,
        Self::Acknowledged,
        Self::ReturnedUnacknowledged,
        Self::LatchedUnacknowledged,
        Self::LatchedAcknowledged,
        Self::Shelved,
        Self::SuppressedByDesign,
        Self::OutOfService,
    ];

    /// The mnemonic, used on the wire and in the API.
    #[must_use]
    pub const fn mnemonic(self) -> &'static str {
        match self {
            Self::Normal => "NORM",
            Self::Unacknowledged => "UNACK",
            Self::Acknowledged => "ACKED",
            Self::ReturnedUnacknowledged => "RTNUN",
            Self::LatchedUnacknowledged => "LTUNK",
            Self::LatchedAcknowledged => "LTACK",
            Self::Shelved => "SHLVD",
            Self::SuppressedByDesign => "DSUPR",
            Self::OutOfService => "OOSRV",
        }
    }

    /// The inverse of [`Self::mnemonic`].
    #[must_use]
    pub fn from_mnemonic(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.mnemonic() == text)
    }

    /// The state in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Unacknowledged => "unacknowledged",
            Self::Acknowledged => "acknowledged",
            Self::ReturnedUnacknowledged => "returned to normal, unacknowledged",
            Self::LatchedUnacknowledged => "latched, unacknowledged",
            Self::LatchedAcknowledged => "latched, acknowledged",
            Self::Shelved => "shelved",
            Self::SuppressedByDesign => "suppressed by design",
            Self::OutOfService => "out of service",
        }
    }

    /// Whether people are shown the alarm: it is active, held, or waits for somebody (B to F).
    #[must_use]
    pub const fn is_annunciated(self) -> bool {
        match self {
            Self::Unacknowledged
            | Self::Acknowledged
            | Self::ReturnedUnacknowledged
            | Self::LatchedUnacknowledged
            | Self::LatchedAcknowledged => true,
            Self::Normal | Self::Shelved | Self::SuppressedByDesign | Self::OutOfService => false,
        }
    }

    /// Whether something hides the alarm (G, H, I).
    #[must_use]
    pub const fn is_hidden(self) -> bool {
        matches!(self, Self::Shelved | Self::SuppressedByDesign | Self::OutOfService)
    }
}

/// What an alarm remembers. Each flag moves by itself; the state is derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlarmFlags {
    /// The process is abnormal, after the delays.
    pub active: bool,
    /// Nobody has to acknowledge anything.
    pub acknowledged: bool,
    /// Held although the process has returned.
    pub latched: bool,
    /// Hidden by a person until this instant of the gateway's wall clock.
    pub shelved_until: Option<Timestamp>,
    /// Hidden by logic.
    pub suppressed: bool,
    /// Hidden by a person while it is being worked on.
    pub out_of_service: bool,
    /// When somebody must look whether it is still to be out of service. Nothing moves then.
    pub review_at: Option<Timestamp>,
}

impl AlarmFlags {
    /// Nothing to do.
    pub const NORMAL: Self = Self {
        active: false,
        acknowledged: true,
        latched: false,
        shelved_until: None,
        suppressed: false,
        out_of_service: false,
        review_at: None,
    };

    /// The state that people see.
    #[must_use]
    pub const fn state(&self) -> AlarmState {
        if self.out_of_service {
            AlarmState::OutOfService
        } else if self.suppressed {
            AlarmState::SuppressedByDesign
        } else if self.shelved_until.is_some() {
            AlarmState::Shelved
        } else {
            match (self.active, self.latched, self.acknowledged) {
                (true, _, false) => AlarmState::Unacknowledged,
                (true, _, true) => AlarmState::Acknowledged,
                (false, true, false) => AlarmState::LatchedUnacknowledged,
                (false, true, true) => AlarmState::LatchedAcknowledged,
                (false, false, false) => AlarmState::ReturnedUnacknowledged,
                (false, false, true) => AlarmState::Normal,
            }
        }
    }

    /// The flags without the instants as bits, as they travel and are stored: 1 active,
    /// 2 unacknowledged, 4 latched, 8 suppressed, 16 out of service.
    #[must_use]
    pub const fn bits(&self) -> u32 {
        (self.active as u32)
            | (!self.acknowledged as u32) << 1
            | (self.latched as u32) << 2
            | (self.suppressed as u32) << 3
            | (self.out_of_service as u32) << 4
    }

    /// The inverse of [`Self::bits`], with the instants; `None` if there is a bit that means nothing.
    #[must_use]
    pub fn from_bits(
        bits: u32,
        shelved_until: Option<Timestamp>,
        review_at: Option<Timestamp>,
    ) -> Option<Self> {
        let is_set = |bit: u32| bits & bit != 0;
        let flags = Self {
            active: is_set(1),
            acknowledged: !is_set(2),
            latched: is_set(4),
            shelved_until,
            suppressed: is_set(8),
            out_of_service: is_set(16),
            review_at,
        };
        (flags.bits() == bits).then_some(flags)
    }

    /// Flags that have the given state, as far as the state tells: of a shelved alarm the end is not
    /// known, of a hidden one nothing that is hidden.
    #[must_use]
    pub const fn of_state(state: AlarmState) -> Self {
        let normal = Self::NORMAL;
        match state {
            AlarmState::Normal => normal,
            AlarmState::Unacknowledged => Self { active: true, acknowledged: false, ..normal },
            AlarmState::Acknowledged => Self { active: true, ..normal },
            AlarmState::ReturnedUnacknowledged => Self { acknowledged: false, ..normal },
            AlarmState::LatchedUnacknowledged => Self { latched: true, acknowledged: false, ..normal },
            AlarmState::LatchedAcknowledged => Self { latched: true, ..normal },
            AlarmState::Shelved => Self { shelved_until: Some(Timestamp::from_micros(0)), ..normal },
            AlarmState::SuppressedByDesign => Self { suppressed: true, ..normal },
            AlarmState::OutOfService => Self { out_of_service: true, ..normal },
        }
    }
}

impl Default for AlarmFlags {
    fn default() -> Self {
        Self::NORMAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_finds_its_way_back_from_mnemonic_and_flags() {
        for state in AlarmState::ALL {
            assert_eq!(AlarmState::from_mnemonic(state.mnemonic()), Some(state));
            let flags = AlarmFlags::of_state(state);
            assert_eq!(flags.state(), state);
            assert_eq!(AlarmFlags::from_bits(flags.bits(), flags.shelved_until, None), Some(flags));
        }
        assert_eq!(AlarmFlags::from_bits(32, None, None), None);
        assert_eq!(AlarmState::from_mnemonic("A"), None);
    }

    #[test]
    fn what_hides_an_alarm_hides_what_it_is_and_out_of_service_comes_first() {
        let mut flags = AlarmFlags { active: true, acknowledged: false, ..AlarmFlags::NORMAL };
        flags.shelved_until = Some(Timestamp::from_micros(1));
        assert_eq!(flags.state(), AlarmState::Shelved);
        flags.suppressed = true;
        assert_eq!(flags.state(), AlarmState::SuppressedByDesign);
        flags.out_of_service = true;
        assert_eq!(flags.state(), AlarmState::OutOfService);
        assert!(flags.state().is_hidden() && !flags.state().is_annunciated());
    }

    #[test]
    fn an_alarm_is_shown_until_somebody_has_done_what_it_asks_for() {
        let shown = AlarmState::ALL.into_iter().filter(|s| s.is_annunciated()).map(AlarmState::mnemonic);
        assert_eq!(shown.collect::<Vec<_>>(), ["UNACK", "ACKED", "RTNUN", "LTUNK", "LTACK"]);
    }
}
