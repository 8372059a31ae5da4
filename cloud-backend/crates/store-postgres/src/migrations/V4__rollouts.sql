-- Updates of agents in waves. Lengths are microseconds. A rollout is of the platform and may have gateways of all tenants.
CREATE TABLE rollout (
  id           bigint PRIMARY KEY,
  version      text NOT NULL,
  channel      text NOT NULL,
  waves        text NOT NULL,
  soak         bigint NOT NULL,
  max_failures bigint NOT NULL,
  offline_wait bigint NOT NULL,
  patience     bigint NOT NULL,
  author       text NOT NULL,
  comment      text NOT NULL,
  created_at   bigint NOT NULL,
  direction    text NOT NULL,
  state        text NOT NULL,
  wave         bigint NOT NULL,
  reason       text NOT NULL,
  changed_at   bigint NOT NULL,
  revision     bigint NOT NULL
);

-- The gateways of a rollout, in the order in which they are told. `holds` is true while the rollout is not finished.
CREATE TABLE rollout_member (
  rollout  bigint NOT NULL REFERENCES rollout (id),
  position bigint NOT NULL,
  tenant   text COLLATE "C" NOT NULL,
  gateway  text COLLATE "C" NOT NULL,
  wave     bigint,
  former   text,
  excused  boolean NOT NULL,
  holds    boolean NOT NULL,
  PRIMARY KEY (rollout, position),
  FOREIGN KEY (tenant, gateway) REFERENCES gateway (tenant, gateway)
);
CREATE UNIQUE INDEX rollout_member_holds ON rollout_member (tenant, gateway) WHERE holds;

-- The version that is desired of each gateway; null if none is any more.
CREATE TABLE update_wish (
  tenant    text COLLATE "C" NOT NULL,
  gateway   text COLLATE "C" NOT NULL,
  revision  bigint NOT NULL,
  version   text,
  channel   text NOT NULL,
  rollout   bigint NOT NULL,
  wished_at bigint NOT NULL,
  PRIMARY KEY (tenant, gateway),
  FOREIGN KEY (tenant, gateway) REFERENCES gateway (tenant, gateway)
);

-- What each gateway said last about its version, as JSON in the form of the protocol.
CREATE TABLE update_report (
  tenant      text COLLATE "C" NOT NULL,
  gateway     text COLLATE "C" NOT NULL,
  received_at bigint NOT NULL,
  since       bigint NOT NULL,
  report      text NOT NULL,
  PRIMARY KEY (tenant, gateway),
  FOREIGN KEY (tenant, gateway) REFERENCES gateway (tenant, gateway)
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['rollout', 'rollout_member', 'update_wish', 'update_report'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
  END LOOP;
  FOREACH name IN ARRAY ARRAY['update_wish', 'update_report'] LOOP
    EXECUTE format('CREATE POLICY of_tenant ON %I TO cloud_backend_tenant
      USING (tenant = (SELECT nullif(current_setting(''app.tenant'', true), '''')))
      WITH CHECK (tenant = (SELECT nullif(current_setting(''app.tenant'', true), '''')))', name);
  END LOOP;
  FOREACH name IN ARRAY ARRAY['rollout', 'rollout_member', 'update_wish'] LOOP
    EXECUTE format('CREATE POLICY of_platform ON %I TO cloud_backend_platform USING (true) WITH CHECK (true)', name);
  END LOOP;
END $$;

GRANT SELECT, INSERT, UPDATE, DELETE ON rollout, rollout_member TO cloud_backend_platform;
GRANT SELECT, INSERT, UPDATE ON update_wish TO cloud_backend_platform;
GRANT SELECT ON update_wish TO cloud_backend_tenant;
GRANT SELECT, INSERT, UPDATE ON update_report TO cloud_backend_tenant;
