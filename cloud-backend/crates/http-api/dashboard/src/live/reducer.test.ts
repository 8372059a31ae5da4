import { expect, test } from "vitest";
import type { ValuesEvent } from "../api/types";
import { initialLive, reduceLive, type LiveInput, type LiveState } from "./reducer";

const values = (at: number, of: ValuesEvent["values"], more: Partial<ValuesEvent> = {}): LiveInput => ({
  kind: "values",
  event: { gateway: "g", machine: "m", at, link: "up", values: of, ...more },
});
const after = (...inputs: LiveInput[]): LiveState => inputs.reduce(reduceLive, initialLive);

test("values of one machine do not touch another", () => {
  const before = after(values(1, { a: 1 }), values(1, { a: 5 }, { machine: "n" }));
  const state = reduceLive(before, values(2, { a: 2 }));
  expect(state.machines.get("g/m")?.readings["a"]?.value).toBe(2);
  expect(state.machines.get("g/n")).toBe(before.machines.get("g/n"));
});

test("a tag missing from an event keeps its reading and its age", () => {
  const machine = after(values(1000, { a: 1, b: 2 }), values(2000, { a: 3 })).machines.get("g/m");
  expect(machine?.readings).toEqual({
    a: { value: 3, bad: null, at: 2000 },
    b: { value: 2, bad: null, at: 1000 },
  });
});

test("a bad tag has no value but a reason", () => {
  const machine = after(values(1, { a: null }, { bad: { a: "BadTimeout" } })).machines.get("g/m");
  expect(machine?.readings["a"]).toEqual({ value: null, bad: "BadTimeout", at: 1 });
});

test("an event that arrives late does not overwrite a newer reading", () => {
  const machine = after(values(2000, { a: 2 }), values(1000, { a: 1 })).machines.get("g/m");
  expect(machine?.readings["a"]?.value).toBe(2);
  expect(machine?.at).toBe(2000);
  expect(machine?.history["a"]?.map((point) => point.at)).toEqual([2000]);
});

test("history is bounded in points", () => {
  const inputs = Array.from({ length: 1000 }, (_, index) => values(index * 10, { a: index }));
  const history = after(...inputs).machines.get("g/m")?.history["a"] ?? [];
  expect(history.length).toBe(400);
  expect(history.at(-1)?.value).toBe(999);
});

test("history is bounded in time", () => {
  const history = after(values(0, { a: 1 }), values(301_000, { a: 2 })).machines.get("g/m")?.history["a"];
  expect(history).toEqual([{ at: 301_000, value: 2 }]);
});

test("silence is counted from the first loss, and ends when the stream opens", () => {
  const lost = after({ kind: "opened" }, { kind: "lost", at: 5 }, { kind: "lost", at: 9 });
  expect(lost.connection).toEqual({ kind: "lost", since: 5 });
  expect(reduceLive(lost, { kind: "opened" }).connection).toEqual({ kind: "live" });
});

test("losing the stream keeps the readings, so that their age can be told", () => {
  const state = after(values(1, { a: 1 }), { kind: "lost", at: 9 });
  expect(state.machines.get("g/m")?.readings["a"]?.at).toBe(1);
});

test("a gateway's presence follows its last event", () => {
  const state = after(
    { kind: "gateway", event: { gateway: "g", online: true } },
    { kind: "gateway", event: { gateway: "g", online: false } },
  );
  expect(state.gateways.get("g")).toBe(false);
});
