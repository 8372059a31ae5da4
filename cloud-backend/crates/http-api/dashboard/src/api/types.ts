/**
 * The shapes of `/api/v1`. Everything the dashboard knows about the wire is in this module.
 * Instants are RFC 3339 UTC texts unless a name or comment says milliseconds.
 */

export type Instant = string;
export type Role = "platform-operator" | "manager";
export type Permission = "operate_alarms" | "operate_gateways" | "control_gateways" | "administer";
export type Priority = "low" | "medium" | "high" | "critical";
export type MachineState = "running" | "idle" | "down" | "setup";
export type Link = "up" | "down" | "unknown";
export type DataType = "bool" | "int" | "float" | "text";
export type TagValue = boolean | number | string | null;
export type LimitKind = "high_high" | "high" | "low" | "low_low";
export type AlarmKind =
  | LimitKind
  | "deviation"
  | "rate_of_change"
  | "off_normal"
  | "stale"
  | "bad_quality"
  | "communication"
  | "expression";
/** The mnemonics of ISA-18.2. */
export type AlarmState = "NORM" | "UNACK" | "ACKED" | "RTNUN" | "LTUNK" | "LTACK" | "SHLVD" | "DSUPR" | "OOSRV";
export type TransitionCause =
  | "raised"
  | "returned_to_normal"
  | "re_alarmed"
  | "acknowledged"
  | "reset"
  | "shelved"
  | "unshelved"
  | "shelve_expired"
  | "suppressed"
  | "unsuppressed"
  | "taken_out_of_service"
  | "returned_to_service"
  | "removed";
export type StreamId = "alarm" | "telemetry" | "diagnostic";

export interface Page<T> {
  items: T[];
}

export interface CursorPage<T> extends Page<T> {
  next_cursor: string | null;
}

export interface Session {
  username: string;
  display_name: string;
  role: Role;
  permissions: Permission[];
  tenants: { id: string; name: string }[];
}

export interface Tenant {
  id: string;
  name: string;
  gateways: number;
  machines: number;
  active_alarms: number;
}

export interface Gateway {
  id: string;
  online: boolean;
  last_seen_at: Instant | null;
  agent_version: string | null;
  epoch: string | null;
  machines: number;
  configuration: ConfigurationStatus;
  update: UpdateStatus;
  certificate: Certificate | null;
}

/** How a gateway stands to the version of its agent that is desired. */
export interface UpdateStatus {
  channel: string | null;
  running: string | null;
  desired: string | null;
  state: "idle" | "requested" | "installing" | "verifying" | "done" | "rolled_back" | "failed" | "refused" | "unsupported" | null;
  detail: string;
  reported_at: Instant | null;
}

/** What a gateway is known by; `days_left` is negative after its end, `life_left_percent` is whole, 0 to 100. */
export interface Certificate {
  expires_at: Instant;
  days_left: number;
  life_left_percent: number;
  revoked: boolean;
}

export type Rollout = "unmanaged" | "pending" | "trial" | "applied" | "rolled_back" | "refused" | "drifted" | "adopted";

export interface ConfigurationReport {
  received_at: Instant;
  state: "local" | "current" | "trial" | "rolled_back" | "refused" | "drifted" | "adopted";
  version: number | null;
  detail: string;
  drift: { file: string; change: "added" | "changed" | "removed" }[];
  files_digest: string;
  agent_version: string;
}

/** Versions are numbers from 1; `desired` is null while the cloud configures nothing. */
export interface ConfigurationStatus {
  rollout: Rollout;
  desired: number | null;
  applied: number | null;
  report: ConfigurationReport | null;
}

/** A number without a name stands for itself. */
export interface EnumerationName {
  number: number;
  name: string;
}

export interface Headline {
  tag: string;
  name: string;
  unit: string;
  enumeration: EnumerationName[];
  value: TagValue;
  quality: string;
  at: Instant | null;
}

export interface Machine {
  gateway: string;
  id: string;
  name: string;
  kind: string;
  protocol: string;
  link: Link;
  state: MachineState | null;
  state_since: Instant | null;
  last_sample_at: Instant | null;
  active_alarms: number;
  worst_priority: Priority | null;
  headline: Headline[];
}

export interface Latest {
  value: TagValue;
  quality: string;
  good: boolean;
  at: Instant;
}

export interface Tag {
  id: string;
  name: string;
  unit: string;
  enumeration: EnumerationName[];
  data_type: DataType;
  latest: Latest | null;
}

export interface AlarmDefinition {
  id: string;
  /** null where there is no single tag. */
  tag: string | null;
  kind: AlarmKind;
  /** In the tag's unit, of a rate in that unit a second, of a stale value in seconds; null where there is none. */
  limit: number | null;
  deadband: number;
  /** The combination of tags that is watched; null for every other kind. */
  expression: string | null;
  acknowledge: "required" | "on_return";
  latching: boolean;
  suppress_while: string | null;
  shelve_seconds_max: number;
  priority: Priority;
  message: string;
}

export interface MachineDetail extends Machine {
  tags: Tag[];
  alarms: AlarmDefinition[];
}

export interface SampleSeries {
  tag: string;
  unit: string;
  data_type: DataType;
  downsampled: boolean;
  /** Milliseconds since 1970, ascending. */
  times: number[];
  /** One per time; null is a sample of bad quality. */
  values: TagValue[];
  /** Runs: from this index on, this quality. Absent when all are good. */
  qualities?: [number, string][];
  min?: (number | null)[];
  max?: (number | null)[];
}

export interface Samples {
  start: Instant;
  end: Instant;
  series: SampleSeries[];
  truncated: boolean;
  /** Fetches the rest; all tags reach equally far. */
  next_cursor: string | null;
  provenance: Provenance;
}

/** Where an answer came from, what it covers and what it cost. */
export interface Provenance {
  tiers: ("hot" | "warm" | "cold")[];
  layers: ("batches" | "segments" | "minutes" | "hours" | "archive")[];
  /** Whether everything is what the samples themselves would say. */
  exact: boolean;
  covered: TimeRange[];
  incomplete: TimeRange[];
  requests: number;
  bytes: number;
  rows: number;
  cost_usd: string;
}

export interface TimeRange {
  start: Instant;
  end: Instant;
}

export interface Alarm {
  gateway: string;
  machine: string;
  alarm: string;
  tag: string | null;
  occurrence: number;
  state: AlarmState;
  /** It is active, held, or waits for somebody. */
  active: boolean;
  priority: Priority;
  message: string;
  limit: number | null;
  value: TagValue;
  raised_at: Instant;
  returned_at: Instant | null;
  decided_at: Instant;
}

export interface Transition {
  gateway: string;
  machine: string;
  alarm: string;
  tag: string | null;
  occurrence: number;
  from: AlarmState;
  to: AlarmState;
  cause: TransitionCause;
  priority: Priority;
  message: string;
  value: TagValue;
  limit: number | null;
  first_out: boolean;
  /** Who did it and why; null where no person did. */
  actor: string | null;
  comment: string | null;
  shelved_until: Instant | null;
  value_at: Instant;
  decided_at: Instant;
  /** null only in the live stream: the copy that runs ahead; the step comes again when it is stored. */
  stored_at: Instant | null;
}

export type AlarmAction =
  | "acknowledge"
  | "reset"
  | "shelve"
  | "unshelve"
  | "take_out_of_service"
  | "return_to_service";

/** What a person asks of an alarm. */
export interface AlarmCommand {
  action: AlarmAction;
  /** The activation that was seen; null where the action is not about one. */
  occurrence: number | null;
  /** Only to shelve. */
  duration_s: number | null;
  comment: string;
}

export interface CommandStatus {
  id: string;
  state: "waiting" | "done" | "refused" | "expired";
  reason: string | null;
  /** The gateway had it before and gives the answer of then. */
  repeated: boolean;
}

export interface LedgerGap {
  first: number;
  last: number;
  samples: number;
  reason: string;
}

export interface LedgerDropped {
  samples: number;
  reason: string;
  from: Instant;
  to: Instant;
}

export interface Ledger {
  gateway: string;
  /** null for messages that named none. */
  epoch: string | null;
  stream: StreamId;
  committed_through: number;
  received: number;
  stored: number;
  duplicate: number;
  rejected: { reason: string; count: number }[];
  samples_stored: number;
  bytes_received: number;
  gaps: LedgerGap[];
  /** Samples that were lost before they became a batch; in the telemetry stream's row. */
  dropped: LedgerDropped[];
  last_received_at: Instant | null;
}

/** `event: values` of the live stream: the latest values of one machine. */
export interface ValuesEvent {
  gateway: string;
  machine: string;
  /** Milliseconds since 1970. */
  at: number;
  link: Link;
  values: Record<string, TagValue>;
  /** Quality of the tags that are not good. */
  bad?: Record<string, string>;
}

/** `event: gateway` of the live stream. */
export interface GatewayEvent {
  gateway: string;
  online: boolean;
}

export interface Problem {
  type: string;
  title: string;
  status: number;
  detail?: string;
  instance?: string;
  errors?: { pointer: string; detail: string }[];
}
