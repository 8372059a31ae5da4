//! Writing segments: sealing, and putting bodies back.

use plant_model::GatewayId;
use rusqlite::{Connection, params};
use segments::{Head, SealedSegment};
use tiering::{LateSegment, Revision, SealSet, SegmentKey, SegmentWrite};

use super::keys::{MachineNumber, machine_or_new};
use super::usage::{Changes, Size, length};
use super::{hours, reads, streams};
use crate::codec::{Columns, execute, int, row};
use crate::error::Fault;

pub(super) fn seal(c: &Connection, set: &SealSet) -> Result<Revision, Fault> {
    let revision = raise(c, &set.gateway, Some(set.base))?;
    streams::remove(c, &set.gateway, set.epoch, set.through)?;
    let mut changes = Changes::default();
    for segment in &set.segments {
        let machine = machine_or_new(c, &set.gateway, &segment.key.machine)?;
        write(c, machine, segment, revision, &mut changes)?;
        hours::note_due(c, machine, segment.key.minute, revision)?;
    }
    if let Some(latest) = &set.latest {
        let sql = "INSERT INTO sealed_latest (gateway, body) VALUES (?1, ?2)
                   ON CONFLICT (gateway) DO UPDATE SET body = excluded.body";
        execute(c, sql, params![set.gateway.as_str(), latest])?;
    }
    changes.save(c)?;
    Ok(revision)
}

/// The next revision of a gateway; with a base, only if that is the one that is.
pub(crate) fn raise(c: &Connection, gateway: &GatewayId, base: Option<Revision>) -> Result<Revision, Fault> {
    let found = reads::revision(c, gateway)?;
    if let Some(expected) = base.filter(|base| *base != found) {
        return Err(Fault::Conflict { gateway: gateway.clone(), expected, found });
    }
    let next = Revision(found.0 + 1);
    let sql = "INSERT INTO tier_revision (gateway, revision) VALUES (?1, ?2)
               ON CONFLICT (gateway) DO UPDATE SET revision = excluded.revision";
    execute(c, sql, params![gateway.as_str(), int(next.0)])?;
    Ok(next)
}

/// What a segment takes now; `None` if there is none.
pub(super) fn size(c: &Connection, key: i64) -> Result<Option<Size>, Fault> {
    let sql = "SELECT samples, length(head), body_bytes, late_bytes, archived FROM segment WHERE key = ?1";
    row(c, sql, [key], |r| {
        Ok(Size {
            samples: r.number(0)?,
            head: r.number(1)?,
            body: r.optional_number(2)?,
            late: r.optional_number(3)?,
            is_archived: r.number(4)? != 0,
        })
    })
}

fn write(
    c: &Connection,
    machine: MachineNumber,
    segment: &SegmentWrite,
    revision: Revision,
    changes: &mut Changes,
) -> Result<(), Fault> {
    let key = machine.key(segment.key.minute.number());
    let before = size(c, key)?;
    let kept = before.and_then(|size| size.body);
    let after = Size {
        samples: int(segment.count),
        head: length(&segment.head),
        body: segment.body.as_deref().map(length).or(kept),
        late: segment.late.as_ref().map(|late| length(&late.head) + length(&late.body)),
        is_archived: false,
    };
    save_head(c, key, revision, &segment.head, after)?;
    if let Some(body) = &segment.body {
        save_body(c, key, body)?;
    }
    save_late(c, key, segment.late.as_ref())?;
    changes.segment(key, before, Some(after));
    Ok(())
}

fn save_head(c: &Connection, key: i64, revision: Revision, head: &[u8], size: Size) -> Result<(), Fault> {
    let sql = "INSERT INTO segment (key, revision, samples, archived, body_bytes, late_bytes, head)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, samples = excluded.samples,
                 archived = excluded.archived, body_bytes = excluded.body_bytes, late_bytes = excluded.late_bytes,
                 head = excluded.head";
    let Size { samples, body, late, is_archived, .. } = size;
    execute(c, sql, params![key, int(revision.0), samples, is_archived, body, late, head])?;
    Ok(())
}

fn save_body(c: &Connection, key: i64, body: &[u8]) -> Result<(), Fault> {
    let sql = "INSERT INTO segment_body (key, body) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET body = excluded.body";
    execute(c, sql, params![key, body])?;
    Ok(())
}

fn save_late(c: &Connection, key: i64, late: Option<&LateSegment>) -> Result<(), Fault> {
    let Some(late) = late else {
        execute(c, "DELETE FROM segment_late WHERE key = ?1", [key])?;
        return Ok(());
    };
    let sql = "INSERT INTO segment_late (key, head, body) VALUES (?1, ?2, ?3)
               ON CONFLICT (key) DO UPDATE SET head = excluded.head, body = excluded.body";
    execute(c, sql, params![key, late.head.as_ref(), late.body.as_ref()])?;
    Ok(())
}

pub(super) fn restore(
    c: &Connection,
    gateway: &GatewayId,
    base: Revision,
    segments: &[(SegmentKey, SealedSegment)],
) -> Result<u64, Fault> {
    let revision = raise(c, gateway, Some(base))?;
    let (mut restored, mut changes) = (0, Changes::default());
    for (key, segment) in segments {
        let key = machine_or_new(c, gateway, &key.machine)?.key(key.minute.number());
        let before = size(c, key)?;
        if before.is_some_and(|size| size.body.is_some() || size.late.is_some()) {
            continue;
        }
        let head = Head::read(&segment.head).map_err(|e| Fault::unreadable("a restored segment", &e))?;
        let after = Size {
            samples: int(u64::try_from(head.count()).unwrap_or(u64::MAX)),
            head: length(&segment.head),
            body: Some(length(&segment.body)),
            late: None,
            is_archived: true,
        };
        save_head(c, key, revision, &segment.head, after)?;
        save_body(c, key, &segment.body)?;
        changes.segment(key, before, Some(after));
        restored += 1;
    }
    changes.save(c)?;
    Ok(restored)
}
