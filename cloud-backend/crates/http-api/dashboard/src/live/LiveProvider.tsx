/** Opens the tenant's stream once and shares it with every component below. */
import { useQueryClient } from "@tanstack/react-query";
import { createContext, useContext, useEffect, useState, useSyncExternalStore, type ReactNode } from "react";
import { apiUrl } from "../api/client";
import { sessionQuery, tenantKey } from "../api/queries";
import { machineKey } from "../lib/alarms";
import { serverNow } from "../lib/clock";
import { coalesce } from "../lib/coalesce";
import type { Connection, LiveState, MachineLive } from "./reducer";
import { LiveStore } from "./store";
import { openStream } from "./stream";

export const LiveContext = createContext<LiveStore>(new LiveStore());

/** An alarm flood must not become a flood of requests. */
const REFETCH_AFTER_MS = 300;

export function LiveProvider({ tenant, children }: { tenant: string; children: ReactNode }) {
  const [store, setStore] = useState(() => new LiveStore());
  const queryClient = useQueryClient();
  useEffect(() => {
    const fresh = new LiveStore();
    setStore(fresh);
    const changed = coalesce(REFETCH_AFTER_MS, (topics) => {
      topics.forEach((topic) => void queryClient.invalidateQueries({ queryKey: [...tenantKey(tenant), topic] }));
    });
    const close = openStream(apiUrl(["tenants", tenant, "live"]), {
      opened: () => fresh.dispatch({ kind: "opened" }),
      lost: () => fresh.dispatch({ kind: "lost", at: serverNow() }),
      values: (event) => fresh.dispatch({ kind: "values", event }),
      alarm: () => changed.add("alarms", "machines", "machine"),
      gateway: (event) => {
        fresh.dispatch({ kind: "gateway", event });
        changed.add("gateways", "machines");
      },
      resync: () => void queryClient.invalidateQueries({ queryKey: tenantKey(tenant) }),
      // Asking for the session tells a backend that is gone from a session that has ended.
      refused: () => void queryClient.invalidateQueries({ queryKey: sessionQuery.queryKey }),
    });
    return () => {
      close();
      changed.cancel();
    };
  }, [tenant, queryClient]);
  return <LiveContext value={store}>{children}</LiveContext>;
}

function useLive<T>(select: (state: LiveState) => T): T {
  const store = useContext(LiveContext);
  return useSyncExternalStore(store.subscribe, () => select(store.get()));
}

export const useConnection = (): Connection => useLive((state) => state.connection);

export const useMachineLive = (gateway: string, machine: string): MachineLive | undefined =>
  useLive((state) => state.machines.get(machineKey(gateway, machine)));

/** Whether the gateway is online, as far as the stream has told; otherwise undefined. */
export const useGatewayLive = (gateway: string): boolean | undefined =>
  useLive((state) => state.gateways.get(gateway));
