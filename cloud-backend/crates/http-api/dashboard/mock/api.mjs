// Development tool: answers of /api/v1 made from the imaginary plant.
import { badTag, occurrences, silent, stateOf, stateSince, valueOf } from "./plant.mjs";

const iso = (at) => (at === null ? null : new Date(at).toISOString());
const startedAt = Date.now();
const JOURNAL_MS = 2 * 3_600_000;

/** Occurrences are found once per tenant and then extended second by second. */
const books = new Map();
export function bookOf(tenant, now) {
  const known = books.get(tenant.id);
  if (known && now - known.at < 1000) return known.items;
  const items = tenant.machines.flatMap((machine) => occurrences(machine, now - JOURNAL_MS, now));
  books.set(tenant.id, { at: now, items });
  return items;
}

export function latest(machine, tag, now) {
  const at = machine.index === 12 ? startedAt - 754_000 : now - (now % 1000);
  const bad = badTag(machine, tag, at);
  return { value: bad ? null : valueOf(machine, tag, at), quality: bad ? "BadTimeout" : "Good", good: !bad, at: iso(at) };
}

export function machineView(tenant, machine, now) {
  const active = bookOf(tenant, now).filter((each) => each.machine === machine && each.returned === null);
  const order = ["critical", "high", "medium", "low"];
  return {
    gateway: machine.gateway,
    id: machine.id,
    name: machine.name,
    kind: machine.kind,
    protocol: machine.protocol,
    link: silent(machine, now) ? "down" : "up",
    state: stateOf(machine, now),
    state_since: iso(stateSince(machine, now)),
    last_sample_at: latest(machine, machine.tags[0], now).at,
    active_alarms: active.length,
    worst_priority: order.find((priority) => active.some((each) => each.definition.priority === priority)) ?? null,
    headline: machine.tags.slice(0, 4).map((tag) => {
      const { value, quality, at } = latest(machine, tag, now);
      return { tag: tag.id, name: tag.name, unit: tag.unit, enumeration: tag.enumeration ?? [], value, quality, at };
    }),
  };
}

export function machineDetail(tenant, machine, now) {
  const tags = machine.tags.map((tag) => ({ id: tag.id, name: tag.name, unit: tag.unit, enumeration: tag.enumeration ?? [], data_type: tag.data_type, latest: latest(machine, tag, now) }));
  return { ...machineView(tenant, machine, now), tags, alarms: machine.alarms };
}

function seriesOf(machine, tag, start, end, points) {
  const to = Math.min(end, Date.now());
  const bucket = points ? Math.max(1000, Math.ceil((end - start) / points / 1000) * 1000) : 1000;
  const downsampled = bucket > 1000 && tag.data_type !== "text" && tag.data_type !== "bool";
  const series = { tag: tag.id, unit: tag.unit, data_type: tag.data_type, downsampled, times: [], values: [] };
  if (downsampled) Object.assign(series, { min: [], max: [] });
  for (let at = start - (start % bucket) + bucket; at < to; at += bucket) {
    if (silent(machine, at)) continue;
    const bad = badTag(machine, tag, at);
    const value = bad ? null : valueOf(machine, tag, at);
    series.times.push(at);
    series.values.push(value);
    if (bad && !downsampled) (series.qualities ??= []).push([series.times.length - 1, "BadTimeout"], [series.times.length, "Good"]);
    if (!downsampled) continue;
    const within = bad ? [null] : [0.2, 0.4, 0.6, 0.8, 1].map((part) => valueOf(machine, tag, at - bucket + bucket * part));
    series.min.push(bad ? null : Math.min(...within));
    series.max.push(bad ? null : Math.max(...within));
  }
  return series;
}

/** As if everything came from the hot tier. */
function provenance(start, end) {
  const covered = [{ start: iso(start), end: iso(end) }];
  return { tiers: ["hot"], layers: ["segments"], exact: true, covered, incomplete: [], requests: 0, bytes: 0, rows: 0, cost_usd: "0.000000000" };
}

export function samples(machine, params) {
  const start = Date.parse(params.get("start"));
  const end = Date.parse(params.get("end"));
  const points = Number(params.get("points")) || null;
  const wanted = machine.tags.filter((tag) => params.getAll("tag").includes(tag.id));
  return { start: iso(start), end: iso(end), series: wanted.map((tag) => seriesOf(machine, tag, start, end, points)), truncated: false, next_cursor: null, provenance: provenance(start, end) };
}

const shared = ({ machine, definition, raised }) => ({
  gateway: machine.gateway,
  machine: machine.id,
  alarm: definition.id,
  tag: definition.tag,
  occurrence: Math.floor(raised / 1000) % 100_000,
  priority: definition.priority,
  message: definition.message,
  limit: definition.limit,
});

/** What people have done: state and instant, by tenant's gateway, machine and alarm. */
const covers = new Map();
const coverKey = (machine, definition) => `${machine.gateway}/${machine.id}/${definition.id}`;
const AFTER = { shelve: "SHLVD", take_out_of_service: "OOSRV", acknowledge: "ACKED" };

/** Does what a person asks; gives the reason where that cannot be. */
export function carryOut(machine, definition, { action, comment }) {
  const key = coverKey(machine, definition);
  const state = covers.get(key)?.state;
  if (action === "shelve" && state === "SHLVD") return "unshelve it before you shelve it anew";
  if (["unshelve", "return_to_service"].includes(action) && state === undefined) return "it is not hidden";
  if (["shelve", "take_out_of_service"].includes(action) && !comment) return "a comment must say why";
  covers.delete(key);
  if (AFTER[action]) covers.set(key, { state: AFTER[action], at: Date.now(), machine, definition });
  return null;
}

export const hiddenOf = (tenant) =>
  [...covers.values()]
    .filter(({ state, machine }) => state !== "ACKED" && tenant.machines.includes(machine))
    .map(({ state, at, machine, definition }) => ({
      ...shared({ machine, definition, raised: at }),
      occurrence: 0,
      state,
      active: false,
      value: null,
      raised_at: iso(at),
      returned_at: null,
      decided_at: iso(at),
    }));

const stateNow = ({ machine, definition, returned }) => {
  if (returned !== null) return "NORM";
  return covers.get(coverKey(machine, definition))?.state ?? "UNACK";
};

export const alarmView = (each) => ({
  ...shared(each),
  state: stateNow(each),
  active: ["UNACK", "ACKED"].includes(stateNow(each)),
  value: each.value,
  raised_at: iso(each.raised),
  returned_at: iso(each.returned),
  decided_at: iso((each.returned ?? each.raised) + 3),
});

export function transitionsOf(each) {
  const at = (instant, value, raised) => ({
    ...shared(each),
    from: raised ? "NORM" : "UNACK",
    to: raised ? "UNACK" : "NORM",
    cause: raised ? "raised" : "returned_to_normal",
    value,
    first_out: false,
    actor: null,
    comment: null,
    shelved_until: null,
    value_at: iso(instant),
    decided_at: iso(instant + 3),
    stored_at: iso(instant + 40 + (each.raised / 1000) % 60),
  });
  const raised = at(each.raised, each.value, true);
  return each.returned === null ? [raised] : [at(each.returned, each.returnedValue, false), raised];
}

/** One page of a list: the cursor is the index of the next row, which is enough for a mock. */
export function page(items, params) {
  const from = Number(params.get("cursor")) || 0;
  const to = from + (Number(params.get("limit")) || 100);
  return { items: items.slice(from, to), next_cursor: to < items.length ? String(to) : null };
}

export function ledger(tenant, now) {
  const batches = Math.floor((now - startedAt) / 5000) + 8640;
  const line = (stream, stored, more) => ({
    gateway: tenant.gateway,
    epoch: "8f3a61c29be04d17",
    stream,
    committed_through: stored,
    received: stored,
    stored,
    duplicate: 0,
    rejected: [],
    samples_stored: 0,
    bytes_received: stored * 310,
    gaps: [],
    dropped: [],
    last_received_at: iso(now - (now % 5000)),
    ...more,
  });
  return [
    line("alarm", 214),
    line("telemetry", batches, {
      received: batches + 9,
      duplicate: 7,
      rejected: [{ reason: "checksum", count: 2 }],
      samples_stored: batches * 1500,
      bytes_received: batches * 3420,
      gaps: tenant.id === "borealis" ? [{ first: 4021, last: 4033, samples: 19_500, reason: "disk_full" }] : [],
    }),
    line("diagnostic", Math.floor(batches / 12)),
  ];
}

export const gateway = (tenant, now) => ({
  id: tenant.gateway,
  online: true,
  last_seen_at: iso(now - (now % 1000)),
  agent_version: "0.1.0",
  epoch: "8f3a61c29be04d17",
  machines: tenant.machines.length,
  configuration: configuration(tenant, now),
  update: { channel: "stable", running: "0.1.0", desired: "0.1.0", state: "done", detail: "", reported_at: iso(now - 300_000) },
  certificate: { expires_at: iso(now + 21 * 86_400_000), days_left: 21, life_left_percent: 70, revoked: false },
});

const configuration = (tenant, now) => {
  const report = { received_at: iso(now - 120_000), version: 4, detail: "", drift: [], files_digest: "5d".repeat(32), agent_version: "0.1.0" };
  if (tenant.id !== "borealis") return { rollout: "applied", desired: 4, applied: 4, report: { ...report, state: "current" } };
  const drift = [{ file: `${tenant.machines[0].id}.toml`, change: "changed" }];
  return { rollout: "drifted", desired: 4, applied: 3, report: { ...report, state: "drifted", drift } };
};
