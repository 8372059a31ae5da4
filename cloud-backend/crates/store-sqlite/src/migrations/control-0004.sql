-- Updates of agents in waves. Times are microseconds since 1970, lengths are microseconds.
CREATE TABLE rollout (
  id           INTEGER PRIMARY KEY,
  version      TEXT NOT NULL,
  channel      TEXT NOT NULL,
  waves        TEXT NOT NULL,
  soak         INTEGER NOT NULL,
  max_failures INTEGER NOT NULL,
  offline_wait INTEGER NOT NULL,
  patience     INTEGER NOT NULL,
  author       TEXT NOT NULL,
  comment      TEXT NOT NULL,
  created_at   INTEGER NOT NULL,
  direction    TEXT NOT NULL,
  state        TEXT NOT NULL,
  wave         INTEGER NOT NULL,
  reason       TEXT NOT NULL,
  changed_at   INTEGER NOT NULL,
  revision     INTEGER NOT NULL
) STRICT;

-- The gateways of a rollout, in the order in which they are told. `holds` is 1 while the rollout is not finished.
CREATE TABLE rollout_member (
  rollout  INTEGER NOT NULL REFERENCES rollout (id),
  position INTEGER NOT NULL,
  tenant   TEXT NOT NULL,
  gateway  TEXT NOT NULL,
  wave     INTEGER,
  former   TEXT NOT NULL,
  excused  INTEGER NOT NULL,
  holds    INTEGER NOT NULL,
  PRIMARY KEY (rollout, position),
  FOREIGN KEY (tenant, gateway) REFERENCES gateway (tenant, gateway)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX rollout_member_holds ON rollout_member (tenant, gateway) WHERE holds = 1;

-- The version that is desired of each gateway; an empty one if none is any more.
CREATE TABLE update_wish (
  tenant    TEXT NOT NULL,
  gateway   TEXT NOT NULL,
  revision  INTEGER NOT NULL,
  version   TEXT NOT NULL,
  channel   TEXT NOT NULL,
  rollout   INTEGER NOT NULL,
  wished_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, gateway),
  FOREIGN KEY (tenant, gateway) REFERENCES gateway (tenant, gateway)
) STRICT, WITHOUT ROWID;

-- What each gateway said last about its version, as JSON in the form of the protocol.
CREATE TABLE update_report (
  tenant      TEXT NOT NULL,
  gateway     TEXT NOT NULL,
  received_at INTEGER NOT NULL,
  since       INTEGER NOT NULL,
  report      TEXT NOT NULL,
  PRIMARY KEY (tenant, gateway),
  FOREIGN KEY (tenant, gateway) REFERENCES gateway (tenant, gateway)
) STRICT;
