-- The tiers: what batches of telemetry become when they rest. Minutes, hours and weeks are numbers counted from 1970.

-- Tags and their numbers, for ever. kind: 0 analog, 1 counter, 2 state.
CREATE TABLE tag (
  tenant    text COLLATE "C" NOT NULL,
  gateway   text COLLATE "C" NOT NULL,
  machine   text COLLATE "C" NOT NULL,
  number    bigint NOT NULL,
  tag       text COLLATE "C" NOT NULL,
  kind      bigint NOT NULL,
  data_type text NOT NULL,
  role      text NOT NULL,
  unit      text NOT NULL,
  PRIMARY KEY (tenant, gateway, machine, number),
  UNIQUE (tenant, gateway, machine, tag)
);

-- Those that catalogues have named so far get their numbers here, in the order of their series. Who owns the tables
-- sees no row of one that forces its policies.
ALTER TABLE series NO FORCE ROW LEVEL SECURITY;
INSERT INTO tag (tenant, gateway, machine, number, tag, kind, data_type, role, unit)
  SELECT tenant, gateway, machine, row_number() OVER (PARTITION BY tenant, gateway, machine ORDER BY lowest, tag) - 1,
         tag, kind, data_type, role, unit
  FROM (SELECT tenant, gateway, machine, tag, data_type, role, unit,
               min(series) OVER same AS lowest,
               max(CASE WHEN role = 'state' OR data_type IN ('bool', 'text') THEN 2 ELSE 0 END) OVER same AS kind,
               row_number() OVER (PARTITION BY tenant, gateway, machine, tag ORDER BY updated_at DESC, epoch) AS age
        FROM series WINDOW same AS (PARTITION BY tenant, gateway, machine, tag)) AS known
  WHERE age = 1;
ALTER TABLE series FORCE ROW LEVEL SECURITY;

-- Each gateway's revision and its newest samples as of the last sealing. Whoever changes the tiers of a gateway holds
-- its row until the end of the transaction, so that all revisions up to a committed one can be seen.
CREATE TABLE tier (
  tenant   text COLLATE "C" NOT NULL,
  gateway  text COLLATE "C" NOT NULL,
  revision bigint NOT NULL,
  latest   bytea,
  PRIMARY KEY (tenant, gateway)
) WITH (fillfactor = 50);
ALTER TABLE tier ALTER latest SET STORAGE EXTERNAL;

-- How far the telemetry of each epoch is sealed; through_head holds the first bytes of the batch `through`.
CREATE TABLE sealed (
  tenant  text COLLATE "C" NOT NULL,
  gateway text COLLATE "C" NOT NULL,
  epoch   bigint NOT NULL,
  through bigint NOT NULL,
  through_head bytea,
  PRIMARY KEY (tenant, gateway, epoch)
) WITH (fillfactor = 50);

-- Batches that had been given up, came after all and are sealed: they are not free any more.
CREATE TABLE recovered (
  tenant   text COLLATE "C" NOT NULL,
  gateway  text COLLATE "C" NOT NULL,
  epoch    bigint NOT NULL,
  sequence bigint NOT NULL,
  PRIMARY KEY (tenant, gateway, epoch, sequence)
);

-- Heads of segments, which are kept for years. body_bytes and late_bytes say what of the segment is in segment_body.
CREATE TABLE segment (
  tenant      text COLLATE "C" NOT NULL,
  gateway     text COLLATE "C" NOT NULL,
  machine     text COLLATE "C" NOT NULL,
  minute      bigint NOT NULL,
  revision    bigint NOT NULL,
  samples     bigint NOT NULL,
  head_bytes  bigint NOT NULL,
  body_bytes  bigint,
  late_bytes  bigint,
  is_archived boolean NOT NULL,
  head        bytea NOT NULL,
  PRIMARY KEY (tenant, gateway, machine, minute)
);
ALTER TABLE segment ALTER head SET STORAGE EXTERNAL;
CREATE INDEX segment_by_minute ON segment (tenant, gateway, minute)
  INCLUDE (samples, head_bytes, body_bytes, late_bytes, is_archived, revision);
CREATE INDEX segment_with_body ON segment (tenant, gateway, minute, machine) WHERE body_bytes IS NOT NULL;
CREATE INDEX segment_with_late ON segment (tenant, gateway, minute, machine) WHERE late_bytes IS NOT NULL;

-- Bodies, and what came late beside a dropped one, with the head of that. Compressed already. A part for each week
-- from 2020 to 2049, made when it is needed and dropped when nothing is in it, gives its space back at once; clocks
-- that are further off share two more.
CREATE TABLE segment_body (
  tenant  text COLLATE "C" NOT NULL,
  gateway text COLLATE "C" NOT NULL,
  machine text COLLATE "C" NOT NULL,
  minute  bigint NOT NULL,
  is_late boolean NOT NULL,
  head    bytea,
  body    bytea NOT NULL,
  PRIMARY KEY (tenant, gateway, machine, minute, is_late)
) PARTITION BY RANGE (minute);
ALTER TABLE segment_body ALTER head SET STORAGE EXTERNAL, ALTER body SET STORAGE EXTERNAL;
CREATE TABLE segment_body_past PARTITION OF segment_body FOR VALUES FROM (MINVALUE) TO (26298720);
CREATE TABLE segment_body_future PARTITION OF segment_body FOR VALUES FROM (42084000) TO (MAXVALUE);

-- Rollups of hours. revision is that of the heads that they were made of.
CREATE TABLE hour_rollup (
  tenant   text COLLATE "C" NOT NULL,
  gateway  text COLLATE "C" NOT NULL,
  machine  text COLLATE "C" NOT NULL,
  hour     bigint NOT NULL,
  revision bigint NOT NULL,
  rollups  bytea NOT NULL,
  PRIMARY KEY (tenant, gateway, machine, hour)
);
ALTER TABLE hour_rollup ALTER rollups SET STORAGE EXTERNAL;
CREATE INDEX hour_rollup_by_hour ON hour_rollup (tenant, gateway, hour, machine);

-- Hours of which minutes changed, and the revision of the last change.
CREATE TABLE hour_due (
  tenant   text COLLATE "C" NOT NULL,
  gateway  text COLLATE "C" NOT NULL,
  machine  text COLLATE "C" NOT NULL,
  hour     bigint NOT NULL,
  revision bigint NOT NULL,
  PRIMARY KEY (tenant, gateway, hour, machine)
) WITH (fillfactor = 50);

-- The manifest of the archive. state: 0 writing, 1 verified, 2 superseded.
CREATE TABLE archive_object (
  tenant     text COLLATE "C" NOT NULL,
  id         bigint GENERATED ALWAYS AS IDENTITY,
  gateway    text COLLATE "C" NOT NULL,
  start_at   bigint NOT NULL,
  end_at     bigint NOT NULL,
  path       text NOT NULL,
  state      bigint NOT NULL,
  samples    bigint NOT NULL,
  bytes      bigint NOT NULL,
  sha256     bytea NOT NULL,
  directory  bytea NOT NULL,
  changed_at bigint NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX archive_object_by_time ON archive_object (tenant, gateway, start_at);
CREATE INDEX archive_object_by_state ON archive_object (tenant, state, changed_at);

-- Rows come and go here within minutes: what is dead is cleared away soon, and before the table grows by much.
ALTER TABLE batch SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0,
  toast.autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_cost_delay = 0);
ALTER TABLE hour_due SET (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE tier SET (autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['tag', 'tier', 'sealed', 'recovered', 'segment', 'segment_body', 'hour_rollup',
      'hour_due', 'archive_object'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_tenant ON %I TO cloud_backend_tenant
      USING (tenant = (SELECT nullif(current_setting(''app.tenant'', true), '''')))
      WITH CHECK (tenant = (SELECT nullif(current_setting(''app.tenant'', true), '''')))', name);
  END LOOP;
  -- Parts are reached through the whole, whose grants and policies hold then. Nobody has either for a part alone.
  FOREACH name IN ARRAY ARRAY['segment_body_past', 'segment_body_future'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
  END LOOP;
END $$;

GRANT DELETE ON batch TO cloud_backend_tenant;
GRANT SELECT, INSERT ON recovered TO cloud_backend_tenant;
GRANT SELECT, INSERT, UPDATE ON tag, tier, sealed TO cloud_backend_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON segment, segment_body, hour_rollup, hour_due, archive_object
  TO cloud_backend_tenant;

-- The roles of the store own nothing: these two functions do for them, as the owner, what only an owner may.

-- The part of a week, by the name of its first day. There is none of its own where the clocks are far off.
CREATE FUNCTION segment_body_part(week bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN week >= 2609 AND week < 4175
    THEN 'segment_body_' || to_char(to_timestamp(week * 604800) AT TIME ZONE 'UTC', 'YYYYMMDD') END
$$;

-- Makes the part of a week. Attaching it waits for nobody who reads or writes other parts.
CREATE FUNCTION make_segment_body_part(week bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE part text := segment_body_part(week);
BEGIN
  IF part IS NULL OR to_regclass(part) IS NOT NULL THEN RETURN; END IF;
  -- "MFPp": who makes parts takes turns.
  PERFORM pg_advisory_xact_lock(1296453744);
  IF to_regclass(part) IS NOT NULL THEN RETURN; END IF;
  EXECUTE format('CREATE TABLE %I (LIKE segment_body INCLUDING ALL)', part);
  EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
  EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', part);
  EXECUTE format('ALTER TABLE segment_body ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
    part, week * 10080, (week + 1) * 10080);
END $$;

-- Drops the part of a week if nothing of any tenant is in it, and says so. It waits a tenth of a second for those who
-- read or write bodies, who wait as long for it; then it fails, and can be tried again. The owner sees rows only while
-- the policies are not forced on him; nobody else sees the part meanwhile.
CREATE FUNCTION drop_segment_body_part_if_empty(week bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '100ms' AS $$
DECLARE
  part text := segment_body_part(week);
  is_used boolean;
BEGIN
  IF part IS NULL OR to_regclass(part) IS NULL THEN RETURN false; END IF;
  LOCK TABLE ONLY segment_body IN ACCESS EXCLUSIVE MODE;
  IF to_regclass(part) IS NULL THEN RETURN false; END IF;
  EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', part);
  EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', part);
  EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I)', part) INTO is_used;
  IF is_used THEN
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', part);
    RETURN false;
  END IF;
  EXECUTE format('DROP TABLE %I', part);
  RETURN true;
END $$;

REVOKE EXECUTE ON FUNCTION make_segment_body_part(bigint), drop_segment_body_part_if_empty(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_segment_body_part(bigint), drop_segment_body_part_if_empty(bigint)
  TO cloud_backend_tenant;
