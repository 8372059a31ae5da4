/** Order and grouping of alarms. */
import type { Alarm, AlarmKind, AlarmState, Priority } from "../api/types";
import { parseInstant } from "./format";

const RANK: Record<Priority, number> = { critical: 1, high: 2, medium: 3, low: 4 };

/** 1 is the most urgent; the number is also what the mark shows. */
export function priorityRank(priority: Priority): number {
  return RANK[priority];
}

/** Newest first; of those raised together the most urgent first; the rest by name, so that rows never swap places. */
export function compareNewestFirst(a: Alarm, b: Alarm): number {
  return (
    (parseInstant(b.raised_at) ?? 0) - (parseInstant(a.raised_at) ?? 0) ||
    RANK[a.priority] - RANK[b.priority] ||
    alarmKey(a).localeCompare(alarmKey(b))
  );
}

/** One occurrence of one alarm. */
export function alarmKey(alarm: Pick<Alarm, "gateway" | "machine" | "alarm" | "occurrence">): string {
  return `${alarm.gateway}/${alarm.machine}/${alarm.alarm}/${alarm.occurrence}`;
}

export const machineKey = (gateway: string, machine: string): string => `${gateway}/${machine}`;

/** The most urgent active alarm of each machine, the newest of equals. */
export function worstByMachine(alarms: readonly Alarm[]): Map<string, Alarm> {
  const worst = new Map<string, Alarm>();
  for (const alarm of [...alarms].filter((each) => each.active).sort(compareNewestFirst)) {
    const key = machineKey(alarm.gateway, alarm.machine);
    const known = worst.get(key);
    if (known === undefined || RANK[alarm.priority] < RANK[known.priority]) worst.set(key, alarm);
  }
  return worst;
}

/** States in which people are shown an alarm: it is active, held, or waits for somebody. */
const ANNUNCIATED: ReadonlySet<AlarmState> = new Set(["UNACK", "ACKED", "RTNUN", "LTUNK", "LTACK"]);

export const isAnnunciated = (state: AlarmState): boolean => ANNUNCIATED.has(state);

/** The comparison a limit stands for; null for alarms that are not about a value beyond a limit. */
export function limitSign(kind: AlarmKind): ">" | "<" | null {
  if (kind === "high" || kind === "high_high") return ">";
  return kind === "low" || kind === "low_low" ? "<" : null;
}
