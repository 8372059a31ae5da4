CREATE TABLE tenant (
  id         TEXT PRIMARY KEY,
  name       TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE gateway (
  tenant     TEXT NOT NULL REFERENCES tenant (id),
  gateway    TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, gateway)
) STRICT, WITHOUT ROWID;

CREATE TABLE user (
  name          TEXT PRIMARY KEY,
  display_name  TEXT NOT NULL,
  role          TEXT NOT NULL,
  tenant        TEXT REFERENCES tenant (id),
  password_hash TEXT NOT NULL,
  created_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
  token_sha256 BLOB PRIMARY KEY,
  user         TEXT NOT NULL REFERENCES user (name),
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_by_user ON session (user, created_at);
CREATE INDEX session_by_expiry ON session (expires_at);
