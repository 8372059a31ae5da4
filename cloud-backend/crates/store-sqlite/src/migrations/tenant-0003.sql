-- What happened to the time of a gateway (SPEC section 11): set, stepped or never known. Samples are those whose
-- time was never known.
CREATE TABLE clock_change (
  gateway   TEXT NOT NULL,
  epoch     INTEGER NOT NULL,
  sequence  INTEGER NOT NULL,
  position  INTEGER NOT NULL,
  change    TEXT NOT NULL,
  from_at   INTEGER NOT NULL,
  to_at     INTEGER NOT NULL,
  uptime_us INTEGER NOT NULL,
  samples   INTEGER NOT NULL,
  PRIMARY KEY (gateway, epoch, sequence, position)
) STRICT, WITHOUT ROWID;
