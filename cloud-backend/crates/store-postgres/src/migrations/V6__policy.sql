-- Versions of a tenant's policy: never changed, only the oldest are removed. policy is its document in JSON.
CREATE TABLE tier_policy (
  tenant   text COLLATE "C" NOT NULL REFERENCES tenant (id),
  version  bigint NOT NULL,
  policy   text NOT NULL,
  saved_by text NOT NULL,
  saved_at bigint NOT NULL,
  reason   text NOT NULL,
  PRIMARY KEY (tenant, version)
);

-- Legal holds; released ones stay. Without a gateway, one of the whole tenant.
CREATE TABLE legal_hold (
  tenant         text COLLATE "C" NOT NULL REFERENCES tenant (id),
  id             bigint NOT NULL,
  gateway        text COLLATE "C",
  machine        text COLLATE "C",
  start_at       bigint NOT NULL,
  end_at         bigint NOT NULL,
  placed_by      text NOT NULL,
  placed_at      bigint NOT NULL,
  reason         text NOT NULL,
  released_by    text,
  released_at    bigint,
  release_reason text,
  PRIMARY KEY (tenant, id)
);

-- Whose turn it is to move the tiers of a tenant, and what the last run did.
CREATE TABLE tier_turn (
  tenant   text COLLATE "C" PRIMARY KEY REFERENCES tenant (id),
  holder   text NOT NULL,
  until_at bigint NOT NULL,
  ended_at bigint,
  outcome  text NOT NULL
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['tier_policy', 'legal_hold', 'tier_turn'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_tenant ON %I TO cloud_backend_tenant
      USING (tenant = (SELECT nullif(current_setting(''app.tenant'', true), '''')))
      WITH CHECK (tenant = (SELECT nullif(current_setting(''app.tenant'', true), '''')))', name);
  END LOOP;
END $$;

GRANT SELECT, INSERT, DELETE ON tier_policy TO cloud_backend_tenant;
GRANT SELECT, INSERT, UPDATE ON legal_hold, tier_turn TO cloud_backend_tenant;
-- The end of the retention of the journal.
GRANT DELETE ON batch, journal, occurrence TO cloud_backend_tenant;
