/** The addresses of the pages. Tenants, gateways and machines have ids without dots, so every address is a page to the backend. */
import { Navigate, Outlet, createRootRoute, createRoute, createRouter } from "@tanstack/react-router";
import { lazy } from "react";
import { Crash, Empty } from "../components/Loadable";
import { AlarmsPage } from "../pages/AlarmsPage";
import { DataPage } from "../pages/DataPage";
import { FleetPage } from "../pages/FleetPage";
import { t } from "../text";
import { useSession } from "./Gate";
import { Shell } from "./Shell";

// The chart library comes with the only page that draws with it.
const MachinePage = lazy(() => import("../pages/MachinePage"));

const rootRoute = createRootRoute({
  component: Outlet,
  errorComponent: Crash,
  notFoundComponent: () => <Empty heading={t.error.notFound} />,
});

function Home() {
  const first = useSession().tenants[0];
  if (first === undefined) return <Empty heading={t.shell.noTenant} />;
  return <Navigate to="/$tenant" params={{ tenant: first.id }} replace />;
}

const homeRoute = createRoute({ getParentRoute: () => rootRoute, path: "/", component: Home });

export const tenantRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/$tenant",
  component: Shell,
  errorComponent: Crash,
});

export const fleetRoute = createRoute({ getParentRoute: () => tenantRoute, path: "/", component: FleetPage });

const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

export interface AlarmsSearch {
  view?: "hidden" | "journal" | undefined;
}

export const alarmsRoute = createRoute({
  getParentRoute: () => tenantRoute,
  path: "/alarms",
  component: AlarmsPage,
  validateSearch: ({ view }): AlarmsSearch => (view === "journal" || view === "hidden" ? { view } : {}),
});

export const dataRoute = createRoute({ getParentRoute: () => tenantRoute, path: "/data", component: DataPage });

export interface MachineSearch {
  /** Tags in the trend, separated by commas. */
  tags?: string | undefined;
  range?: string | undefined;
}

export const machineRoute = createRoute({
  getParentRoute: () => tenantRoute,
  path: "/machines/$gateway/$machine",
  component: MachinePage,
  validateSearch: (search): MachineSearch => ({ tags: text(search["tags"]), range: text(search["range"]) }),
});

export const router = createRouter({
  routeTree: rootRoute.addChildren([
    homeRoute,
    tenantRoute.addChildren([fleetRoute, alarmsRoute, dataRoute, machineRoute]),
  ]),
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
