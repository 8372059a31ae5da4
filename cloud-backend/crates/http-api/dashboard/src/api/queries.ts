/** Every read of the API as query options: key, address, how often it is worth asking again. */
import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { ApiError, apiUrl, request } from "./client";
import type {
  Alarm,
  AlarmCommand,
  CommandStatus,
  CursorPage,
  Gateway,
  Ledger,
  Machine,
  MachineDetail,
  Page,
  Samples,
  Session,
  Tenant,
  Transition,
} from "./types";

const get = <T>(...args: Parameters<typeof apiUrl>): Promise<T> => request<T>("GET", apiUrl(...args));

/** Rows of one page of a list: fills a tall screen, stays a small answer. */
const PAGE_ROWS = 100;

/** Everything of one tenant has a key that begins so; a resync invalidates exactly that. */
export const tenantKey = (tenant: string) => ["tenant", tenant] as const;

export const sessionQuery = queryOptions({
  queryKey: ["session"],
  // "Nobody is signed in" is an answer, not a failure.
  queryFn: () =>
    get<Session>(["session"]).catch((error: unknown) => {
      if (error instanceof ApiError && error.unauthenticated) return null;
      throw error;
    }),
  staleTime: Infinity,
});

export const tenantsQuery = queryOptions({
  queryKey: ["tenants"],
  queryFn: () => get<Page<Tenant>>(["tenants"]),
  refetchInterval: 30_000,
});

export const gatewaysQuery = (tenant: string) =>
  queryOptions({
    queryKey: [...tenantKey(tenant), "gateways"],
    queryFn: () => get<Page<Gateway>>(["tenants", tenant, "gateways"]),
    refetchInterval: 15_000,
  });

export const machinesQuery = (tenant: string) =>
  queryOptions({
    queryKey: [...tenantKey(tenant), "machines"],
    queryFn: () => get<Page<Machine>>(["tenants", tenant, "machines"]),
    // Values come live; the state word and its start only from here.
    refetchInterval: 5_000,
  });

export const machineQuery = (tenant: string, gateway: string, machine: string) =>
  queryOptions({
    queryKey: [...tenantKey(tenant), "machine", gateway, machine],
    queryFn: () => get<MachineDetail>(["tenants", tenant, "gateways", gateway, "machines", machine]),
    refetchInterval: 5_000,
  });

export const activeAlarmsQuery = (tenant: string) =>
  queryOptions({
    queryKey: [...tenantKey(tenant), "alarms", "active"],
    queryFn: () => get<CursorPage<Alarm>>(["tenants", tenant, "alarms"], { state: "active", limit: 500 }),
    refetchInterval: 15_000,
  });

export const hiddenAlarmsQuery = (tenant: string) =>
  queryOptions({
    queryKey: [...tenantKey(tenant), "alarms", "hidden"],
    queryFn: () => get<CursorPage<Alarm>>(["tenants", tenant, "alarms"], { state: "hidden", limit: 500 }),
    refetchInterval: 15_000,
  });

export const journalQuery = (tenant: string) =>
  infiniteQueryOptions({
    queryKey: [...tenantKey(tenant), "alarms", "journal"],
    queryFn: ({ pageParam }) =>
      get<CursorPage<Transition>>(["tenants", tenant, "alarms", "transitions"], {
        limit: PAGE_ROWS,
        cursor: pageParam ?? undefined,
      }),
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next_cursor,
  });

export const ledgerQuery = (tenant: string) =>
  queryOptions({
    queryKey: [...tenantKey(tenant), "ledger"],
    queryFn: () => get<Page<Ledger>>(["tenants", tenant, "ledger"]),
    refetchInterval: 5_000,
  });

export interface SamplesWanted {
  tenant: string;
  gateway: string;
  machine: string;
  tags: readonly string[];
  rangeMs: number;
  points: number;
  refetchMs: number;
  /** Milliseconds since 1970 by the backend's clock. */
  now: () => number;
}

export const samplesQuery = (wanted: SamplesWanted) => {
  const { tenant, gateway, machine, tags, rangeMs, points, refetchMs, now } = wanted;
  return queryOptions({
    queryKey: [...tenantKey(tenant), "samples", gateway, machine, [...tags], rangeMs, points],
    queryFn: () => {
      const end = now();
      return get<Samples>(["tenants", tenant, "gateways", gateway, "machines", machine, "samples"], {
        tag: tags,
        start: new Date(end - rangeMs).toISOString(),
        // A little beyond now: the gateway's clock may run ahead of the backend's.
        end: new Date(end + 2_000).toISOString(),
        points,
      });
    },
    enabled: tags.length > 0,
    refetchInterval: refetchMs,
  });
};

export const signIn = (username: string, password: string) =>
  request<Session>("POST", apiUrl(["session"]), { username, password });

export const signOut = () => request<void>("DELETE", apiUrl(["session"]));

/** Which alarm a command is for. */
export interface AlarmPlace {
  tenant: string;
  gateway: string;
  machine: string;
  alarm: string;
}

/** Gives a command. Under the same id it is done once, however often it is given. */
export const giveCommand = ({ tenant, gateway, machine, alarm }: AlarmPlace, id: string, command: AlarmCommand) =>
  request<CommandStatus>(
    "POST",
    apiUrl(["tenants", tenant, "gateways", gateway, "machines", machine, "alarms", alarm, "commands"]),
    Object.fromEntries(Object.entries(command).filter(([, value]) => value !== null)),
    { "Idempotency-Key": id },
  );

export const commandStatus = (tenant: string, id: string) => get<CommandStatus>(["tenants", tenant, "commands", id]);
