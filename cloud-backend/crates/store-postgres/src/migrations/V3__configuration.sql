-- Versions of the configurations of gateways: never changed, only the oldest are removed. `files` is a zstd frame of
-- the files as JSON, in the form of the protocol.
CREATE TABLE configuration (
  tenant       text COLLATE "C" NOT NULL,
  gateway      text COLLATE "C" NOT NULL,
  version      bigint NOT NULL,
  author       text NOT NULL,
  comment      text NOT NULL,
  created_at   bigint NOT NULL,
  digest       text NOT NULL,
  file_count   bigint NOT NULL,
  size_bytes   bigint NOT NULL,
  accept_drift text,
  restores     bigint,
  files        bytea NOT NULL,
  PRIMARY KEY (tenant, gateway, version),
  FOREIGN KEY (tenant, gateway) REFERENCES gateway (tenant, gateway)
);
ALTER TABLE configuration ALTER files SET STORAGE EXTERNAL;

-- What each gateway said last about its configuration, as JSON in the form of the protocol.
CREATE TABLE configuration_report (
  tenant      text COLLATE "C" NOT NULL,
  gateway     text COLLATE "C" NOT NULL,
  received_at bigint NOT NULL,
  report      text NOT NULL,
  PRIMARY KEY (tenant, gateway),
  FOREIGN KEY (tenant, gateway) REFERENCES gateway (tenant, gateway)
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['configuration', 'configuration_report'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_tenant ON %I TO cloud_backend_tenant
      USING (tenant = (SELECT nullif(current_setting(''app.tenant'', true), '''')))
      WITH CHECK (tenant = (SELECT nullif(current_setting(''app.tenant'', true), '''')))', name);
  END LOOP;
END $$;

GRANT SELECT, INSERT, DELETE ON configuration TO cloud_backend_tenant;
GRANT SELECT, INSERT, UPDATE ON configuration_report TO cloud_backend_tenant;
