import { expect, test } from "vitest";
import type { Alarm } from "../api/types";
import { compareNewestFirst, isAnnunciated, limitSign, worstByMachine } from "./alarms";

function alarm(id: string, raised: number, priority: Alarm["priority"], more: Partial<Alarm> = {}): Alarm {
  const raised_at = new Date(raised * 1000).toISOString();
  return {
    gateway: "g",
    machine: "m",
    alarm: id,
    tag: "t",
    occurrence: 1,
    state: "UNACK",
    active: true,
    priority,
    message: id,
    limit: 1,
    value: 2,
    raised_at,
    returned_at: null,
    decided_at: raised_at,
    ...more,
  };
}

const ids = (alarms: Alarm[]) => alarms.map((each) => each.alarm);

test("the newest alarm comes first, whatever its priority", () => {
  expect(ids([alarm("old", 1, "critical"), alarm("new", 9, "low")].sort(compareNewestFirst))).toEqual(["new", "old"]);
});

test("of alarms raised together the most urgent comes first, then the name decides", () => {
  const together = [alarm("b", 5, "low"), alarm("a", 5, "low"), alarm("c", 5, "critical")];
  expect(ids(together.sort(compareNewestFirst))).toEqual(["c", "a", "b"]);
});

test("the worst alarm of a machine is its most urgent active one, the newest of equals", () => {
  const worst = worstByMachine([
    alarm("older", 1, "high"),
    alarm("newer", 2, "high"),
    alarm("minor", 9, "low"),
    alarm("over", 9, "critical", { active: false }),
    alarm("elsewhere", 3, "medium", { machine: "n" }),
  ]);
  expect(worst.size).toBe(2);
  expect(worst.get("g/m")?.alarm).toBe("newer");
  expect(worst.get("g/n")?.alarm).toBe("elsewhere");
});

test("high limits are exceeded upwards, low limits downwards", () => {
  expect((["high_high", "high", "low", "low_low"] as const).map(limitSign)).toEqual([">", ">", "<", "<"]);
  expect(limitSign("stale")).toBeNull();
});

test("what is normal or hidden is not shown as an alarm", () => {
  const states = ["NORM", "UNACK", "ACKED", "RTNUN", "LTUNK", "LTACK", "SHLVD", "DSUPR", "OOSRV"] as const;
  expect(states.filter((state) => !isAnnunciated(state))).toEqual(["NORM", "SHLVD", "DSUPR", "OOSRV"]);
});
