-- The tiers. Where a column `key` is the primary key, it is machine * 2^39 + 2^38 + number, number being that of the
-- minute or hour since 1970, from -2^38 on: rows of a machine lie together, in order of time, and need no other index.

-- Numbers of machines, for the keys.
CREATE TABLE machine (
  id      INTEGER PRIMARY KEY,
  gateway TEXT NOT NULL,
  machine TEXT NOT NULL,
  UNIQUE (gateway, machine)
) STRICT;

-- Every tag that a machine ever had. Segments name it by its number, which it keeps for ever. kind: 0 analog,
-- 1 counter, 2 state; it only grows. The rest is that of the newest catalogue.
CREATE TABLE tag (
  machine   INTEGER NOT NULL REFERENCES machine (id),
  number    INTEGER NOT NULL,
  tag       TEXT NOT NULL,
  kind      INTEGER NOT NULL,
  data_type TEXT NOT NULL,
  role      TEXT NOT NULL,
  unit      TEXT NOT NULL,
  PRIMARY KEY (machine, number),
  UNIQUE (machine, tag)
) STRICT, WITHOUT ROWID;

INSERT INTO machine (gateway, machine) SELECT DISTINCT gateway, machine FROM series ORDER BY gateway, machine;
INSERT INTO tag (machine, number, tag, kind, data_type, role, unit)
  SELECT m.id, row_number() OVER (PARTITION BY m.id ORDER BY s.lowest, s.tag) - 1, s.tag, s.kind, s.data_type, s.role, s.unit
  FROM (SELECT gateway, machine, tag, data_type, role, unit,
          min(series) OVER same AS lowest,
          max(CASE WHEN role = 'state' OR data_type IN ('bool', 'text') THEN 2 ELSE 0 END) OVER same AS kind,
          row_number() OVER (PARTITION BY gateway, machine, tag ORDER BY updated_at DESC, epoch) AS age
        FROM series WINDOW same AS (PARTITION BY gateway, machine, tag)) s
  JOIN machine m ON m.gateway = s.gateway AND m.machine = s.machine
  WHERE s.age = 1;

-- How often the tiers of a gateway changed.
CREATE TABLE tier_revision (
  gateway  TEXT PRIMARY KEY,
  revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Telemetry that was sealed, as ranges of sequences: one of them that comes again is a duplicate, whatever gap it was
-- in. Where sealing went on without a hole, the range grows.
CREATE TABLE sealed (
  gateway TEXT NOT NULL,
  epoch   INTEGER NOT NULL,
  first   INTEGER NOT NULL,
  last    INTEGER NOT NULL,
  PRIMARY KEY (gateway, epoch, first)
) STRICT, WITHOUT ROWID;

-- The newest samples as of the last sealing.
CREATE TABLE sealed_latest (
  gateway TEXT PRIMARY KEY,
  body    BLOB NOT NULL
) STRICT;

-- Segments: of each machine and minute. body_bytes and late_bytes are those of the two tables below; NULL where there
-- is no row.
CREATE TABLE segment (
  key        INTEGER PRIMARY KEY,
  revision   INTEGER NOT NULL,
  samples    INTEGER NOT NULL,
  archived   INTEGER NOT NULL,
  body_bytes INTEGER,
  late_bytes INTEGER,
  head       BLOB NOT NULL
) STRICT;
-- What may be dropped is found without looking at years of heads.
CREATE INDEX segment_droppable ON segment (key) WHERE archived = 1 AND body_bytes IS NOT NULL;

-- Bodies apart, so that heads are read without them.
CREATE TABLE segment_body (
  key  INTEGER PRIMARY KEY,
  body BLOB NOT NULL
) STRICT;

-- What came after a body was dropped, and is in no object of the archive.
CREATE TABLE segment_late (
  key  INTEGER PRIMARY KEY,
  head BLOB NOT NULL,
  body BLOB NOT NULL
) STRICT;

-- Rollups of hours, and the hours of which minutes changed since theirs was made.
CREATE TABLE hour_rollup (
  key  INTEGER PRIMARY KEY,
  body BLOB NOT NULL
) STRICT;
CREATE TABLE due_hour (
  key      INTEGER PRIMARY KEY,
  revision INTEGER NOT NULL
) STRICT;

-- What lies in the tables above of each machine and day: kept up in the transactions that change them.
CREATE TABLE tier_usage (
  machine    INTEGER NOT NULL,
  day        INTEGER NOT NULL,
  segments   INTEGER NOT NULL,
  samples    INTEGER NOT NULL,
  head_bytes INTEGER NOT NULL,
  bodies     INTEGER NOT NULL,
  body_bytes INTEGER NOT NULL,
  archived   INTEGER NOT NULL,
  late       INTEGER NOT NULL,
  late_bytes INTEGER NOT NULL,
  hours      INTEGER NOT NULL,
  hour_bytes INTEGER NOT NULL,
  PRIMARY KEY (machine, day)
) STRICT, WITHOUT ROWID;

-- The manifest of the archive. state: 0 writing, 1 verified, 2 superseded.
CREATE TABLE archive_object (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  gateway    TEXT NOT NULL,
  start_at   INTEGER NOT NULL,
  end_at     INTEGER NOT NULL,
  path       TEXT NOT NULL,
  state      INTEGER NOT NULL,
  samples    INTEGER NOT NULL,
  bytes      INTEGER NOT NULL,
  sha256     BLOB NOT NULL,
  changed_at INTEGER NOT NULL,
  directory  BLOB NOT NULL
) STRICT;
CREATE INDEX archive_object_by_time ON archive_object (gateway, start_at);
CREATE INDEX archive_object_by_state ON archive_object (state, changed_at);
