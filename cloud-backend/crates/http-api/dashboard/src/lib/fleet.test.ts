import { expect, test } from "vitest";
import type { Machine } from "../api/types";
import { byGateway, countFleet } from "./fleet";

const machine = (id: string, state: Machine["state"], gateway = "g"): Machine => ({
  gateway,
  id,
  name: id,
  kind: "press",
  protocol: "opcua",
  link: "up",
  state,
  state_since: null,
  last_sample_at: null,
  active_alarms: 0,
  worst_priority: null,
  headline: [],
});

test("a gateway is no machine of the plant", () => {
  expect(countFleet([machine("press-1", "running"), machine("gateway", null)], () => true)).toMatchObject({ total: 1, unknown: 0 });
});

test("a silent machine is not counted as running", () => {
  const counts = countFleet([machine("a", "running"), machine("b", "running"), machine("c", null)], ({ id }) => id !== "b");
  expect(counts).toEqual({ total: 3, byState: { running: 1, idle: 0, setup: 0, down: 0 }, unknown: 1, noData: 1 });
});

test("machines stand under their gateway, gateways in order", () => {
  const groups = byGateway([machine("a", null, "z"), machine("b", null, "y"), machine("c", null, "z")]);
  expect(groups.map(([gateway, of]) => [gateway, of.map((each) => each.id)])).toEqual([
    ["y", ["b"]],
    ["z", ["a", "c"]],
  ]);
});
