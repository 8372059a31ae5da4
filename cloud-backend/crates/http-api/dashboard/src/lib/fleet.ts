/** What the fleet page counts. */
import type { Machine, MachineState } from "../api/types";

export interface FleetCounts {
  total: number;
  byState: Record<MachineState, number>;
  unknown: number;
  noData: number;
}

/** Whether this is a gateway's entry of itself, which is no machine of the plant. */
export const isGateway = (machine: Machine): boolean => machine.id === "gateway";

/** Counts machines; one that is not heard counts as silent, not as what it last said. Gateways are none. */
export function countFleet(all: readonly Machine[], heard: (machine: Machine) => boolean): FleetCounts {
  const machines = all.filter((machine) => !isGateway(machine));
  const counts: FleetCounts = {
    total: machines.length,
    byState: { running: 0, idle: 0, setup: 0, down: 0 },
    unknown: 0,
    noData: 0,
  };
  for (const machine of machines) {
    if (!heard(machine)) counts.noData += 1;
    else if (machine.state === null) counts.unknown += 1;
    else counts.byState[machine.state] += 1;
  }
  return counts;
}

/** Machines by gateway, both in the order of their ids. */
export function byGateway(machines: readonly Machine[]): [string, Machine[]][] {
  const groups = new Map<string, Machine[]>();
  for (const machine of machines) groups.set(machine.gateway, [...(groups.get(machine.gateway) ?? []), machine]);
  return [...groups].sort(([a], [b]) => a.localeCompare(b));
}
