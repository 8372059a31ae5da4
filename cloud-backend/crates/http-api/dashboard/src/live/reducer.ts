/**
 * The live picture of one tenant: a pure function of the events of its stream.
 * Times are milliseconds since 1970. A machine's history is bounded in time and in points.
 */
import type { GatewayEvent, Link, TagValue, ValuesEvent } from "../api/types";
import { machineKey } from "../lib/alarms";
import type { LivePoint } from "../lib/trend";

export interface Reading {
  value: TagValue;
  /** null when good. */
  bad: string | null;
  at: number;
}

export interface MachineLive {
  at: number;
  link: Link;
  readings: Readonly<Record<string, Reading>>;
  history: Readonly<Record<string, readonly LivePoint[]>>;
}

export type Connection =
  | { kind: "connecting" }
  | { kind: "live" }
  /** `since`: when the last event came, or the connection broke. */
  | { kind: "lost"; since: number };

export interface LiveState {
  connection: Connection;
  machines: ReadonlyMap<string, MachineLive>;
  /** Only gateways that have changed since the page was opened. */
  gateways: ReadonlyMap<string, boolean>;
}

export type LiveInput =
  | { kind: "opened" }
  | { kind: "lost"; at: number }
  | { kind: "values"; event: ValuesEvent }
  | { kind: "gateway"; event: GatewayEvent };

/** Longer than the longest pause between two reads of stored samples, so that a trend has no hole. */
const HISTORY_MS = 5 * 60_000;
/** About one point a second; more often than that is thinned by dropping the oldest. */
const HISTORY_POINTS = 400;

export const initialLive: LiveState = {
  connection: { kind: "connecting" },
  machines: new Map(),
  gateways: new Map(),
};

export function reduceLive(state: LiveState, input: LiveInput): LiveState {
  switch (input.kind) {
    case "opened":
      return { ...state, connection: { kind: "live" } };
    case "lost":
      // The first loss counts: failed attempts to come back do not make the silence younger.
      return state.connection.kind === "lost" ? state : { ...state, connection: { kind: "lost", since: input.at } };
    case "gateway":
      return { ...state, gateways: new Map(state.gateways).set(input.event.gateway, input.event.online) };
    case "values": {
      const key = machineKey(input.event.gateway, input.event.machine);
      const machine = withValues(state.machines.get(key), input.event);
      return { ...state, machines: new Map(state.machines).set(key, machine) };
    }
  }
}

function withValues(before: MachineLive | undefined, event: ValuesEvent): MachineLive {
  const readings = { ...before?.readings };
  const history = { ...before?.history };
  for (const [tag, value] of Object.entries(event.values)) {
    const known = readings[tag];
    if (known !== undefined && known.at >= event.at) continue;
    readings[tag] = { value, bad: event.bad?.[tag] ?? null, at: event.at };
    history[tag] = extended(history[tag] ?? [], { at: event.at, value });
  }
  return { at: Math.max(before?.at ?? event.at, event.at), link: event.link, readings, history };
}

function extended(points: readonly LivePoint[], point: LivePoint): LivePoint[] {
  const oldest = point.at - HISTORY_MS;
  const from = Math.max(0, points.length + 1 - HISTORY_POINTS);
  return [...points.slice(from).filter((each) => each.at > oldest), point];
}
