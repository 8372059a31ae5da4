-- Versions of the configurations of gateways: never changed, only the oldest are removed. `files` is a zstd
-- frame of the files as JSON, in the form of the protocol.
CREATE TABLE configuration (
  tenant       TEXT NOT NULL,
  gateway      TEXT NOT NULL,
  version      INTEGER NOT NULL,
  author       TEXT NOT NULL,
  comment      TEXT NOT NULL,
  created_at   INTEGER NOT NULL,
  digest       TEXT NOT NULL,
  file_count   INTEGER NOT NULL,
  size_bytes   INTEGER NOT NULL,
  accept_drift TEXT NOT NULL,
  restores     INTEGER,
  files        BLOB NOT NULL,
  PRIMARY KEY (tenant, gateway, version),
  FOREIGN KEY (tenant, gateway) REFERENCES gateway (tenant, gateway)
) STRICT;

-- What each gateway said last about its configuration, as JSON in the form of the protocol.
CREATE TABLE configuration_report (
  tenant      TEXT NOT NULL,
  gateway     TEXT NOT NULL,
  received_at INTEGER NOT NULL,
  report      TEXT NOT NULL,
  PRIMARY KEY (tenant, gateway),
  FOREIGN KEY (tenant, gateway) REFERENCES gateway (tenant, gateway)
) STRICT;
