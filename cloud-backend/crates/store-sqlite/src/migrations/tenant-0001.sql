-- Times are microseconds since 1970. An epoch is 64 random bits, kept as the signed number of the same
-- bits. Streams are the codes of the wire: 1 alarm, 2 telemetry, 3 diagnostic.

-- What a gateway last said about itself.
CREATE TABLE gateway (
  gateway       TEXT PRIMARY KEY,
  epoch         INTEGER NOT NULL,
  agent_version TEXT,
  seen_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The newest catalogue of each epoch, as it came.
CREATE TABLE catalogue (
  gateway     TEXT NOT NULL,
  epoch       INTEGER NOT NULL,
  machines    INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  body        BLOB NOT NULL,
  PRIMARY KEY (gateway, epoch)
) STRICT;

-- Every series that a catalogue of the epoch ever named: a number keeps its tag for ever.
CREATE TABLE series (
  gateway    TEXT NOT NULL,
  epoch      INTEGER NOT NULL,
  series     INTEGER NOT NULL,
  machine    TEXT NOT NULL,
  tag        TEXT NOT NULL,
  unit       TEXT NOT NULL,
  data_type  TEXT NOT NULL,
  role       TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (gateway, epoch, series)
) STRICT, WITHOUT ROWID;
CREATE INDEX series_by_machine ON series (gateway, machine, updated_at);

-- Batches as they came. Rows of a few kilobytes stay out of the key's tree.
CREATE TABLE batch (
  gateway     TEXT NOT NULL,
  epoch       INTEGER NOT NULL,
  stream      INTEGER NOT NULL,
  sequence    INTEGER NOT NULL,
  first_at    INTEGER NOT NULL,
  last_at     INTEGER NOT NULL,
  count       INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  body        BLOB NOT NULL,
  PRIMARY KEY (gateway, epoch, stream, sequence)
) STRICT;
CREATE INDEX batch_by_time ON batch (gateway, stream, last_at, first_at);

-- Batches whose body could not be read, as they came.
CREATE TABLE quarantine (
  gateway     TEXT NOT NULL,
  epoch       INTEGER NOT NULL,
  stream      INTEGER NOT NULL,
  sequence    INTEGER NOT NULL,
  reason      TEXT NOT NULL,
  detail      TEXT NOT NULL,
  received_at INTEGER NOT NULL,
  body        BLOB NOT NULL,
  PRIMARY KEY (gateway, epoch, stream, sequence)
) STRICT;

-- Counters of a stream: received = stored + duplicate + sum of rejection.count. longest_span is the
-- longest last_at - first_at of its batches; it bounds how far a range query has to look.
CREATE TABLE stream (
  gateway          TEXT NOT NULL,
  epoch            INTEGER NOT NULL,
  stream           INTEGER NOT NULL,
  received         INTEGER NOT NULL,
  stored           INTEGER NOT NULL,
  duplicate        INTEGER NOT NULL,
  samples_stored   INTEGER NOT NULL,
  bytes_received   INTEGER NOT NULL,
  longest_span     INTEGER NOT NULL,
  last_received_at INTEGER,
  PRIMARY KEY (gateway, epoch, stream)
) STRICT, WITHOUT ROWID;

CREATE TABLE rejection (
  gateway TEXT NOT NULL,
  epoch   INTEGER NOT NULL,
  stream  INTEGER NOT NULL,
  reason  TEXT NOT NULL,
  count   INTEGER NOT NULL,
  PRIMARY KEY (gateway, epoch, stream, reason)
) STRICT, WITHOUT ROWID;

-- Messages of which not even the header could be read; stream is that of the topic.
CREATE TABLE unreadable (
  gateway          TEXT NOT NULL,
  stream           INTEGER NOT NULL,
  reason           TEXT NOT NULL,
  count            INTEGER NOT NULL,
  bytes_received   INTEGER NOT NULL,
  last_received_at INTEGER NOT NULL,
  PRIMARY KEY (gateway, stream, reason)
) STRICT, WITHOUT ROWID;

-- Sequences that are accounted for, as disjoint ranges that do not touch. The one that begins at 1 ends
-- at the watermark.
CREATE TABLE coverage (
  gateway TEXT NOT NULL,
  epoch   INTEGER NOT NULL,
  stream  INTEGER NOT NULL,
  first   INTEGER NOT NULL,
  last    INTEGER NOT NULL,
  PRIMARY KEY (gateway, epoch, stream, first)
) STRICT, WITHOUT ROWID;

-- Batches that will never come: given up by the gateway, or not held by it any more when it said hello.
CREATE TABLE gap (
  gateway TEXT NOT NULL,
  epoch   INTEGER NOT NULL,
  stream  INTEGER NOT NULL,
  first   INTEGER NOT NULL,
  last    INTEGER NOT NULL,
  samples INTEGER NOT NULL,
  reason  TEXT NOT NULL,
  at      INTEGER NOT NULL,
  PRIMARY KEY (gateway, epoch, stream, first, last, reason)
) STRICT, WITHOUT ROWID;

-- Samples that were lost on the gateway before they became a batch.
CREATE TABLE dropped (
  gateway  TEXT NOT NULL,
  epoch    INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  position INTEGER NOT NULL,
  samples  INTEGER NOT NULL,
  reason   TEXT NOT NULL,
  from_at  INTEGER NOT NULL,
  to_at    INTEGER NOT NULL,
  PRIMARY KEY (gateway, epoch, sequence, position)
) STRICT, WITHOUT ROWID;

-- The journal of alarm transitions.
CREATE TABLE journal (
  id          INTEGER PRIMARY KEY,
  gateway     TEXT NOT NULL,
  epoch       INTEGER NOT NULL,
  sequence    INTEGER NOT NULL,
  position    INTEGER NOT NULL,
  machine     TEXT NOT NULL,
  alarm       TEXT NOT NULL,
  tag         TEXT NOT NULL,
  occurrence  INTEGER NOT NULL,
  from_state  TEXT NOT NULL,
  to_state    TEXT NOT NULL,
  cause       TEXT NOT NULL,
  priority    TEXT NOT NULL,
  value_type  TEXT NOT NULL,
  value       TEXT NOT NULL,
  limit_value TEXT NOT NULL,
  message     TEXT NOT NULL,
  value_at    INTEGER NOT NULL,
  decided_at  INTEGER NOT NULL,
  stored_at   INTEGER NOT NULL,
  UNIQUE (gateway, epoch, sequence, position)
) STRICT;
CREATE INDEX journal_by_time ON journal (decided_at, id);

-- The journal folded: one row for each occurrence of an alarm.
CREATE TABLE occurrence (
  id            INTEGER PRIMARY KEY,
  gateway       TEXT NOT NULL,
  epoch         INTEGER NOT NULL,
  machine       TEXT NOT NULL,
  alarm         TEXT NOT NULL,
  occurrence    INTEGER NOT NULL,
  tag           TEXT NOT NULL,
  state         TEXT NOT NULL,
  active        INTEGER NOT NULL,
  priority      TEXT NOT NULL,
  message       TEXT NOT NULL,
  limit_value   TEXT NOT NULL,
  value_type    TEXT NOT NULL,
  value         TEXT NOT NULL,
  raised_at     INTEGER NOT NULL,
  returned_at   INTEGER,
  decided_at    INTEGER NOT NULL,
  last_sequence INTEGER NOT NULL,
  last_position INTEGER NOT NULL,
  UNIQUE (gateway, epoch, machine, alarm, occurrence)
) STRICT;
CREATE INDEX occurrence_by_time ON occurrence (raised_at, id);
CREATE INDEX occurrence_active ON occurrence (raised_at, id) WHERE active = 1;
