/** Stored samples of the chosen tags, continued by what comes live. */
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { samplesQuery } from "../api/queries";
import type { MachineDetail, Samples } from "../api/types";
import { serverNow } from "../lib/clock";
import { parseInstant } from "../lib/format";
import type { TrendRange } from "../lib/ranges";
import { newestReading } from "../lib/readings";
import { trendColumn, type Column, type Hold } from "../lib/trend";
import { useNow } from "../lib/useNow";
import type { MachineLive } from "../live/reducer";
import { useMachineLive } from "../live/LiveProvider";
import type { Loading } from "./Loadable";

/** Polled machines are read at every instant, so their silence is a gap; subscribed ones only report changes. */
function holdOf(machine: MachineDetail, tag: string, live: MachineLive | undefined): Hold | null {
  if (machine.protocol !== "opcua") return null;
  const known = machine.tags.find((each) => each.id === tag);
  const newest = known === undefined ? null : newestReading(known, live?.readings[tag]);
  const heardAt = live?.at ?? parseInstant(machine.last_sample_at) ?? 0;
  return { untilMs: heardAt, latest: newest?.bad === null ? { at: newest.at, value: newest.value } : null };
}

export interface Trend {
  query: Loading<Samples>;
  columns: Column[];
}

export function useTrend(tenant: string, machine: MachineDetail, tags: string[], range: TrendRange): Trend {
  const now = useNow();
  const live = useMachineLive(machine.gateway, machine.id);
  const { points, refetchMs, ms } = range;
  const wanted = { tenant, gateway: machine.gateway, machine: machine.id, tags, rangeMs: ms, points, refetchMs, now: serverNow };
  const query = useQuery({ ...samplesQuery(wanted), placeholderData: keepPreviousData });
  const series = new Map(query.data?.series.map((each) => [each.tag, each]));
  const columns = tags.flatMap((tag) => {
    const stored = series.get(tag);
    if (stored === undefined) return [];
    return [trendColumn(stored, live?.history[tag] ?? [], now - ms, holdOf(machine, tag, live))];
  });
  return { query, columns };
}
