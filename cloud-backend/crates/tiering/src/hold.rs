//! Legal holds: while one is in force, nobody drops what it covers, whatever the policy says.

use std::ops::Range;

use plant_model::{GatewayId, MachineId, Timestamp};

/// The number of a hold within its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId(pub u64);

/// What a hold covers. What is stored together stays together: that of one machine keeps all of its gateway in the
/// range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldScope {
    /// The gateway; all of the tenant without.
    pub gateway: Option<GatewayId>,
    /// The machine for which it is.
    pub machine: Option<MachineId>,
    /// From this instant on.
    pub start: Timestamp,
    /// Up to and without this instant.
    pub end: Timestamp,
}

/// What somebody did with a hold, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldAct {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// A hold; it stays in the list after its release, as its audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its number.
    pub id: HoldId,
    /// What it covers.
    pub scope: HoldScope,
    /// Who placed it.
    pub placed: HoldAct,
    /// Who ended it.
    pub released: Option<HoldAct>,
}

impl Hold {
    /// Whether it keeps anything of a gateway in a range from being dropped.
    #[must_use]
    pub fn covers(&self, gateway: &GatewayId, range: &Range<Timestamp>) -> bool {
        let scope = &self.scope;
        self.released.is_none()
            && scope.gateway.as_ref().is_none_or(|held| held == gateway)
            && scope.start < range.end
            && range.start < scope.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    #[test]
    fn a_hold_covers_its_gateway_and_range_until_it_is_released() {
        let (held, other) = (GatewayId::new("gw-1").expect("valid"), GatewayId::new("gw-2").expect("valid"));
        let act = HoldAct { by: "anna".to_owned(), at: at(0), reason: "claim 7".to_owned() };
        let machine = MachineId::new("press-1").expect("valid");
        let scope =
            HoldScope { gateway: Some(held.clone()), machine: Some(machine), start: at(10), end: at(20) };
        let hold = Hold { id: HoldId(1), scope, placed: act.clone(), released: None };
        for (range, covered) in
            [(0..10, false), (0..11, true), (19..30, true), (20..30, false), (12..13, true)]
        {
            let range = at(range.start)..at(range.end);
            assert_eq!(hold.covers(&held, &range), covered, "{range:?}");
            assert!(!hold.covers(&other, &range));
        }
        let mut everywhere = hold.clone();
        everywhere.scope.gateway = None;
        assert!(everywhere.covers(&other, &(at(0)..at(11))));
        let released = Hold { released: Some(act), ..hold };
        assert!(!released.covers(&held, &(at(0)..at(30))));
    }
}
