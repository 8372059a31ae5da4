-- Versions of the tenant's policy: never changed, only the oldest are removed. policy is its document in JSON.
CREATE TABLE tier_policy (
  version  INTEGER PRIMARY KEY,
  policy   TEXT NOT NULL,
  saved_by TEXT NOT NULL,
  saved_at INTEGER NOT NULL,
  reason   TEXT NOT NULL
) STRICT;

-- Legal holds; released ones stay. Without a gateway, one of the whole tenant.
CREATE TABLE legal_hold (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  gateway        TEXT,
  machine        TEXT,
  start_at       INTEGER NOT NULL,
  end_at         INTEGER NOT NULL,
  placed_by      TEXT NOT NULL,
  placed_at      INTEGER NOT NULL,
  reason         TEXT NOT NULL,
  released_by    TEXT,
  released_at    INTEGER,
  release_reason TEXT
) STRICT;

-- Whose turn it is to move the tiers, and what the last run did.
CREATE TABLE tier_turn (
  id       INTEGER PRIMARY KEY CHECK (id = 1),
  holder   TEXT NOT NULL,
  until_at INTEGER NOT NULL,
  ended_at INTEGER,
  outcome  TEXT NOT NULL
) STRICT;
