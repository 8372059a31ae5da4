//! What lies in the tables of the tiers, by machine and day: changed with them, so that it is known without counting.

use std::collections::BTreeMap;

use plant_model::{GatewayId, Timestamp};
use rusqlite::{Connection, params};
use tiering::DayUsage;

use super::keys::{MachineNumber, machine_of, number_of};
use crate::codec::{Columns, execute, int, rows};
use crate::error::Fault;

const MINUTES_A_DAY: i64 = 1_440;
const HOURS_A_DAY: i64 = 24;
const DAY_MICROS: i64 = 86_400_000_000;

/// What a segment takes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    pub(super) samples: i64,
    pub(super) head: i64,
    pub(super) body: Option<i64>,
    pub(super) late: Option<i64>,
    pub(super) is_archived: bool,
}

/// In the order of the columns of `tier_usage` after its key.
type Sums = [i64; 10];

impl Size {
    fn sums(self) -> Sums {
        let there = |part: Option<i64>| [i64::from(part.is_some()), part.unwrap_or(0)];
        let ([bodies, body], [late, late_bytes]) = (there(self.body), there(self.late));
        let archived = i64::from(self.is_archived);
        [1, self.samples, self.head, bodies, body, archived, late, late_bytes, 0, 0]
    }
}

/// Changes that a transaction makes.
#[derive(Debug, Default)]
pub(super) struct Changes(BTreeMap<(MachineNumber, i64), Sums>);

impl Changes {
    /// A segment took one size and takes another; `None` where there was or is none.
    pub(super) fn segment(&mut self, key: i64, before: Option<Size>, after: Option<Size>) {
        let day = number_of(key).div_euclid(MINUTES_A_DAY);
        let [before, after] = [before, after].map(|size| size.map_or(Sums::default(), Size::sums));
        self.add(key, day, std::array::from_fn(|n| after[n] - before[n]));
    }

    /// The same of a rollup of an hour, in bytes.
    pub(super) fn hour(&mut self, key: i64, before: Option<i64>, after: Option<i64>) {
        let day = number_of(key).div_euclid(HOURS_A_DAY);
        let rows = i64::from(after.is_some()) - i64::from(before.is_some());
        let bytes = after.unwrap_or(0) - before.unwrap_or(0);
        self.add(key, day, [0, 0, 0, 0, 0, 0, 0, 0, rows, bytes]);
    }

    fn add(&mut self, key: i64, day: i64, change: Sums) {
        let sums = self.0.entry((machine_of(key), day)).or_default();
        sums.iter_mut().zip(change).for_each(|(sum, change)| *sum += change);
    }

    /// Writes them; a day of which nothing is left goes.
    pub(super) fn save(self, c: &Connection) -> Result<(), Fault> {
        let sql = "INSERT INTO tier_usage (machine, day, segments, samples, head_bytes, bodies, body_bytes, archived,
                     late, late_bytes, hours, hour_bytes)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
                   ON CONFLICT (machine, day) DO UPDATE SET segments = segments + excluded.segments,
                     samples = samples + excluded.samples, head_bytes = head_bytes + excluded.head_bytes,
                     bodies = bodies + excluded.bodies, body_bytes = body_bytes + excluded.body_bytes,
                     archived = archived + excluded.archived, late = late + excluded.late,
                     late_bytes = late_bytes + excluded.late_bytes, hours = hours + excluded.hours,
                     hour_bytes = hour_bytes + excluded.hour_bytes";
        let tidy = "DELETE FROM tier_usage WHERE machine = ?1 AND day = ?2 AND segments = 0 AND hours = 0";
        for ((machine, day), s) in self.0 {
            let row = params![machine.0, day, s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9]];
            execute(c, sql, row)?;
            execute(c, tidy, params![machine.0, day])?;
        }
        Ok(())
    }
}

/// The length of something as a column has it.
pub(super) fn length(bytes: &[u8]) -> i64 {
    int(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

pub(super) fn days(c: &Connection, gateway: &GatewayId) -> Result<Vec<DayUsage>, Fault> {
    let sql = "SELECT u.day, sum(segments), sum(samples), sum(head_bytes), sum(bodies), sum(body_bytes), sum(archived),
                 sum(late), sum(late_bytes), sum(hours), sum(hour_bytes)
               FROM machine m JOIN tier_usage u ON u.machine = m.id WHERE m.gateway = ?1 GROUP BY u.day ORDER BY u.day";
    rows(c, sql, [gateway.as_str()], |r| {
        Ok(DayUsage {
            start: Timestamp::from_micros(r.number(0)?.saturating_mul(DAY_MICROS)),
            segments: r.count(1)?,
            samples: r.count(2)?,
            head_bytes: r.count(3)?,
            bodies: r.count(4)?,
            body_bytes: r.count(5)?,
            archived: r.count(6)?,
            late: r.count(7)?,
            late_bytes: r.count(8)?,
            hours: r.count(9)?,
            hour_bytes: r.count(10)?,
        })
    })
}
