-- Tenants, users, gateways, invitations and certificates. Times are microseconds since 1970. Names and words
-- compare by their bytes.
--
-- Two roles work here, neither of which owns anything (they are made before the first migration):
-- cloud_backend_tenant sees the rows of the tenant that the transaction names in app.tenant, and none without
-- one; cloud_backend_platform sees the rows of all tenants, and nothing that gateways sent. The sub-select is
-- evaluated once a query and not once a row.
CREATE TABLE tenant (
  id         text COLLATE "C" PRIMARY KEY,
  name       text NOT NULL,
  created_at bigint NOT NULL
);

CREATE TABLE gateway (
  tenant     text COLLATE "C" NOT NULL REFERENCES tenant (id),
  gateway    text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  PRIMARY KEY (tenant, gateway)
);

CREATE TABLE app_user (
  name          text COLLATE "C" PRIMARY KEY,
  display_name  text NOT NULL,
  role          text NOT NULL,
  tenant        text COLLATE "C" REFERENCES tenant (id),
  password_hash text NOT NULL,
  created_at    bigint NOT NULL
);

CREATE TABLE session (
  token_sha256 bytea PRIMARY KEY,
  name         text COLLATE "C" NOT NULL REFERENCES app_user (name),
  created_at   bigint NOT NULL,
  expires_at   bigint NOT NULL
);
CREATE INDEX session_by_name ON session (name, created_at);
CREATE INDEX session_by_expiry ON session (expires_at);

CREATE TABLE invitation (
  code_sha256 bytea PRIMARY KEY,
  tenant      text COLLATE "C" NOT NULL,
  gateway     text COLLATE "C" NOT NULL,
  created_at  bigint NOT NULL,
  expires_at  bigint NOT NULL,
  used_at     bigint,
  FOREIGN KEY (tenant, gateway) REFERENCES gateway (tenant, gateway)
);
CREATE INDEX invitation_by_gateway ON invitation (tenant, gateway);

CREATE TABLE gateway_certificate (
  serial     text COLLATE "C" PRIMARY KEY,
  tenant     text COLLATE "C" NOT NULL,
  gateway    text COLLATE "C" NOT NULL,
  issued_at  bigint NOT NULL,
  expires_at bigint NOT NULL,
  revoked_at bigint,
  FOREIGN KEY (tenant, gateway) REFERENCES gateway (tenant, gateway)
);
CREATE INDEX gateway_certificate_by_gateway ON gateway_certificate (tenant, gateway, issued_at);
CREATE INDEX gateway_certificate_revoked ON gateway_certificate (expires_at) WHERE revoked_at IS NOT NULL;

ALTER TABLE tenant ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON tenant TO cloud_backend_tenant
  USING (id = (SELECT nullif(current_setting('app.tenant', true), '')))
  WITH CHECK (id = (SELECT nullif(current_setting('app.tenant', true), '')));
CREATE POLICY of_platform ON tenant TO cloud_backend_platform USING (true) WITH CHECK (true);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['gateway', 'invitation', 'gateway_certificate'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_tenant ON %I TO cloud_backend_tenant
      USING (tenant = (SELECT nullif(current_setting(''app.tenant'', true), '''')))
      WITH CHECK (tenant = (SELECT nullif(current_setting(''app.tenant'', true), '''')))', name);
    EXECUTE format('CREATE POLICY of_platform ON %I TO cloud_backend_platform USING (true) WITH CHECK (true)', name);
  END LOOP;
  FOREACH name IN ARRAY ARRAY['app_user', 'session'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_platform ON %I TO cloud_backend_platform USING (true) WITH CHECK (true)', name);
  END LOOP;
END $$;

GRANT SELECT ON tenant TO cloud_backend_tenant;
GRANT SELECT, INSERT ON gateway TO cloud_backend_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON invitation TO cloud_backend_tenant;
GRANT SELECT, INSERT, UPDATE ON gateway_certificate TO cloud_backend_tenant;
GRANT SELECT, INSERT ON tenant, app_user TO cloud_backend_platform;
GRANT SELECT, INSERT, DELETE ON session TO cloud_backend_platform;
GRANT SELECT ON gateway, invitation, gateway_certificate TO cloud_backend_platform;
