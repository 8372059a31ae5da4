CREATE TABLE invitation (
  code_sha256 BLOB PRIMARY KEY,
  tenant      TEXT NOT NULL,
  gateway     TEXT NOT NULL,
  created_at  INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL,
  used_at     INTEGER,
  FOREIGN KEY (tenant, gateway) REFERENCES gateway (tenant, gateway)
) STRICT, WITHOUT ROWID;
CREATE INDEX invitation_by_gateway ON invitation (tenant, gateway);

CREATE TABLE gateway_certificate (
  serial     TEXT PRIMARY KEY,
  tenant     TEXT NOT NULL,
  gateway    TEXT NOT NULL,
  issued_at  INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER,
  FOREIGN KEY (tenant, gateway) REFERENCES gateway (tenant, gateway)
) STRICT, WITHOUT ROWID;
CREATE INDEX gateway_certificate_by_gateway ON gateway_certificate (tenant, gateway, issued_at);
CREATE INDEX gateway_certificate_revoked ON gateway_certificate (expires_at) WHERE revoked_at IS NOT NULL;
