-- What gateways send. An epoch is 64 random bits, kept as the signed number of the same bits. Streams are the codes
-- of the wire: 1 alarm, 2 telemetry, 3 diagnostic. The tenant leads every key. A text that somebody outside wrote is
-- kept with \ as \\ and NUL, which PostgreSQL has no room for, as \0.

-- What a gateway last said about itself.
CREATE TABLE gateway_seen (
  tenant        text COLLATE "C" NOT NULL,
  gateway       text COLLATE "C" NOT NULL,
  epoch         bigint NOT NULL,
  agent_version text,
  seen_at       bigint NOT NULL,
  PRIMARY KEY (tenant, gateway)
);

-- The newest catalogue of each epoch, as it came.
CREATE TABLE catalogue (
  tenant      text COLLATE "C" NOT NULL,
  gateway     text COLLATE "C" NOT NULL,
  epoch       bigint NOT NULL,
  machines    bigint NOT NULL,
  received_at bigint NOT NULL,
  body        bytea NOT NULL,
  PRIMARY KEY (tenant, gateway, epoch)
);

-- Every series that a catalogue of the epoch ever named: a number keeps its tag for ever.
CREATE TABLE series (
  tenant     text COLLATE "C" NOT NULL,
  gateway    text COLLATE "C" NOT NULL,
  epoch      bigint NOT NULL,
  series     bigint NOT NULL,
  machine    text COLLATE "C" NOT NULL,
  tag        text COLLATE "C" NOT NULL,
  unit       text NOT NULL,
  data_type  text NOT NULL,
  role       text NOT NULL,
  updated_at bigint NOT NULL,
  PRIMARY KEY (tenant, gateway, epoch, series)
);
CREATE INDEX series_by_machine ON series (tenant, gateway, machine, updated_at);

-- Batches as they came. Their bodies are compressed already.
CREATE TABLE batch (
  tenant      text COLLATE "C" NOT NULL,
  gateway     text COLLATE "C" NOT NULL,
  epoch       bigint NOT NULL,
  stream      bigint NOT NULL,
  sequence    bigint NOT NULL,
  first_at    bigint NOT NULL,
  last_at     bigint NOT NULL,
  count       bigint NOT NULL,
  received_at bigint NOT NULL,
  body        bytea NOT NULL,
  PRIMARY KEY (tenant, gateway, epoch, stream, sequence)
);
ALTER TABLE batch ALTER body SET STORAGE EXTERNAL;
CREATE INDEX batch_by_time ON batch (tenant, gateway, stream, last_at, first_at);

-- Batches whose body could not be read, as they came.
CREATE TABLE quarantine (
  tenant      text COLLATE "C" NOT NULL,
  gateway     text COLLATE "C" NOT NULL,
  epoch       bigint NOT NULL,
  stream      bigint NOT NULL,
  sequence    bigint NOT NULL,
  reason      text NOT NULL,
  detail      text NOT NULL,
  received_at bigint NOT NULL,
  body        bytea NOT NULL,
  PRIMARY KEY (tenant, gateway, epoch, stream, sequence)
);

-- Counters of a stream: received = stored + duplicate + sum of rejection.count. longest_span is the longest
-- last_at - first_at of its batches; it bounds how far a range query has to look. Rows are rewritten with every
-- group of batches: the free half of the page keeps the new version beside the old.
CREATE TABLE stream (
  tenant           text COLLATE "C" NOT NULL,
  gateway          text COLLATE "C" NOT NULL,
  epoch            bigint NOT NULL,
  stream           bigint NOT NULL,
  received         bigint NOT NULL,
  stored           bigint NOT NULL,
  duplicate        bigint NOT NULL,
  samples_stored   bigint NOT NULL,
  bytes_received   bigint NOT NULL,
  longest_span     bigint NOT NULL,
  last_received_at bigint,
  PRIMARY KEY (tenant, gateway, epoch, stream)
) WITH (fillfactor = 50);

CREATE TABLE rejection (
  tenant  text COLLATE "C" NOT NULL,
  gateway text COLLATE "C" NOT NULL,
  epoch   bigint NOT NULL,
  stream  bigint NOT NULL,
  reason  text COLLATE "C" NOT NULL,
  count   bigint NOT NULL,
  PRIMARY KEY (tenant, gateway, epoch, stream, reason)
);

-- Messages of which not even the header could be read; stream is that of the topic.
CREATE TABLE unreadable (
  tenant           text COLLATE "C" NOT NULL,
  gateway          text COLLATE "C" NOT NULL,
  stream           bigint NOT NULL,
  reason           text COLLATE "C" NOT NULL,
  count            bigint NOT NULL,
  bytes_received   bigint NOT NULL,
  last_received_at bigint NOT NULL,
  PRIMARY KEY (tenant, gateway, stream, reason)
);

-- Sequences that are accounted for, as disjoint ranges that do not touch. The one that begins at 1 ends at the
-- watermark.
CREATE TABLE coverage (
  tenant  text COLLATE "C" NOT NULL,
  gateway text COLLATE "C" NOT NULL,
  epoch   bigint NOT NULL,
  stream  bigint NOT NULL,
  first   bigint NOT NULL,
  last    bigint NOT NULL,
  PRIMARY KEY (tenant, gateway, epoch, stream, first)
) WITH (fillfactor = 50);

-- Batches that will never come: given up by the gateway, or not held by it any more when it said hello.
CREATE TABLE gap (
  tenant  text COLLATE "C" NOT NULL,
  gateway text COLLATE "C" NOT NULL,
  epoch   bigint NOT NULL,
  stream  bigint NOT NULL,
  first   bigint NOT NULL,
  last    bigint NOT NULL,
  samples bigint NOT NULL,
  reason  text COLLATE "C" NOT NULL,
  at      bigint NOT NULL,
  PRIMARY KEY (tenant, gateway, epoch, stream, first, last, reason)
);

-- Samples that were lost on the gateway before they became a batch.
CREATE TABLE dropped (
  tenant   text COLLATE "C" NOT NULL,
  gateway  text COLLATE "C" NOT NULL,
  epoch    bigint NOT NULL,
  sequence bigint NOT NULL,
  position bigint NOT NULL,
  samples  bigint NOT NULL,
  reason   text NOT NULL,
  from_at  bigint NOT NULL,
  to_at    bigint NOT NULL,
  PRIMARY KEY (tenant, gateway, epoch, sequence, position)
);

-- What happened to the time of a gateway (SPEC section 11): set, stepped or never known. Samples are those whose
-- time was never known.
CREATE TABLE clock_change (
  tenant    text COLLATE "C" NOT NULL,
  gateway   text COLLATE "C" NOT NULL,
  epoch     bigint NOT NULL,
  sequence  bigint NOT NULL,
  position  bigint NOT NULL,
  change    text NOT NULL,
  from_at   bigint NOT NULL,
  to_at     bigint NOT NULL,
  uptime_us bigint NOT NULL,
  samples   bigint NOT NULL,
  PRIMARY KEY (tenant, gateway, epoch, sequence, position)
);

-- The journal of alarm transitions.
CREATE TABLE journal (
  id            bigint GENERATED ALWAYS AS IDENTITY,
  tenant        text COLLATE "C" NOT NULL,
  gateway       text COLLATE "C" NOT NULL,
  epoch         bigint NOT NULL,
  sequence      bigint NOT NULL,
  position      bigint NOT NULL,
  machine       text COLLATE "C" NOT NULL,
  alarm         text COLLATE "C" NOT NULL,
  tag           text COLLATE "C",
  occurrence    bigint NOT NULL,
  from_state    text NOT NULL,
  to_state      text NOT NULL,
  cause         text NOT NULL,
  priority      text NOT NULL,
  value_type    text,
  value         text,
  limit_value   double precision,
  message       text NOT NULL,
  value_at      bigint NOT NULL,
  decided_at    bigint NOT NULL,
  stored_at     bigint NOT NULL,
  flags         bigint NOT NULL,
  shelved_until bigint,
  review_at     bigint,
  deadband      double precision NOT NULL,
  first_out     boolean NOT NULL,
  command       text COLLATE "C",
  actor         text,
  comment       text,
  PRIMARY KEY (tenant, id),
  UNIQUE (tenant, gateway, epoch, sequence, position)
);
CREATE INDEX journal_by_time ON journal (tenant, decided_at, id);

-- The journal folded: one row for each occurrence of an alarm.
CREATE TABLE occurrence (
  id            bigint GENERATED ALWAYS AS IDENTITY,
  tenant        text COLLATE "C" NOT NULL,
  gateway       text COLLATE "C" NOT NULL,
  epoch         bigint NOT NULL,
  machine       text COLLATE "C" NOT NULL,
  alarm         text COLLATE "C" NOT NULL,
  occurrence    bigint NOT NULL,
  tag           text COLLATE "C",
  state         text NOT NULL,
  active        boolean NOT NULL,
  priority      text NOT NULL,
  message       text NOT NULL,
  limit_value   double precision,
  value_type    text,
  value         text,
  raised_at     bigint NOT NULL,
  returned_at   bigint,
  decided_at    bigint NOT NULL,
  last_sequence bigint NOT NULL,
  last_position bigint NOT NULL,
  PRIMARY KEY (tenant, id),
  UNIQUE (tenant, gateway, epoch, machine, alarm, occurrence)
);
CREATE INDEX occurrence_by_time ON occurrence (tenant, raised_at, id);
CREATE INDEX occurrence_active ON occurrence (tenant, raised_at, id) WHERE active;

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['gateway_seen', 'catalogue', 'series', 'batch', 'quarantine', 'stream', 'rejection',
      'unreadable', 'coverage', 'gap', 'dropped', 'clock_change', 'journal', 'occurrence'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY of_tenant ON %I TO cloud_backend_tenant
      USING (tenant = (SELECT nullif(current_setting(''app.tenant'', true), '''')))
      WITH CHECK (tenant = (SELECT nullif(current_setting(''app.tenant'', true), '''')))', name);
  END LOOP;
END $$;

-- What is evidence is written once.
GRANT SELECT, INSERT ON batch, quarantine, dropped, clock_change, journal TO cloud_backend_tenant;
GRANT SELECT, INSERT, UPDATE ON gateway_seen, catalogue, series, stream, rejection, unreadable, occurrence
  TO cloud_backend_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON coverage, gap TO cloud_backend_tenant;
