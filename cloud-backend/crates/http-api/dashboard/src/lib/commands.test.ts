import { expect, test } from "vitest";
import { ApiError } from "../api/client";
import type { AlarmState, CommandStatus } from "../api/types";
import { actionsFor, carryOut, commandId, mayRepeat, shelfTimes } from "./commands";

const answer = (state: CommandStatus["state"], reason: string | null = null): CommandStatus => ({ id: "c", state, reason, repeated: false });
const line = (...answers: (CommandStatus | Error)[]) => {
  const next = async () => {
    const each = answers.shift();
    if (each === undefined) throw new Error("nobody was to ask again");
    if (each instanceof Error) throw each;
    return each;
  };
  return { give: next, ask: next, pause: async () => {} };
};
const refusal = (status: number, type = "about:blank") => new ApiError({ type, title: "refused", status });

test("every state offers first what it asks for", () => {
  const first = (state: AlarmState) => actionsFor(state)[0];
  expect([first("UNACK"), first("RTNUN"), first("LTUNK"), first("LTACK")]).toEqual(["acknowledge", "acknowledge", "acknowledge", "reset"]);
  expect([first("SHLVD"), first("OOSRV"), first("ACKED"), first("NORM")]).toEqual(["unshelve", "return_to_service", "shelve", "shelve"]);
});

test("what is latched and unacknowledged cannot be reset yet", () => {
  expect(actionsFor("LTUNK")).not.toContain("reset");
});

test("no time to shelve is longer than allowed, and the longest allowed can be chosen", () => {
  expect(shelfTimes(8 * 3_600)).toEqual([900, 3_600, 14_400, 28_800]);
  expect(shelfTimes(600)).toEqual([600]);
});

test("ids are new each time and what the backend takes", () => {
  const ids = [commandId(), commandId()];
  expect(new Set(ids).size).toBe(2);
  ids.forEach((id) => expect(id).toMatch(/^[0-9a-f]{32}$/));
});

test("a command is waited for until the gateway has answered", async () => {
  expect(await carryOut(line(answer("waiting"), answer("waiting"), answer("done")))).toEqual({ kind: "done" });
  expect(await carryOut(line(answer("refused", "acknowledge it first")))).toEqual({ kind: "refused", reason: "acknowledge it first" });
  expect(await carryOut(line(answer("expired")))).toEqual({ kind: "expired" });
});

test("a gateway that never answers leaves it open", async () => {
  const outcome = await carryOut({ give: async () => answer("waiting"), ask: async () => answer("waiting"), pause: async () => {} });
  expect([outcome.kind, mayRepeat(outcome)]).toEqual(["unknown", true]);
});

test("a gateway that is away changed nothing, a backend that is away may have", async () => {
  const kind = async (error: Error) => (await carryOut(line(error))).kind;
  expect(await kind(refusal(503, "/problems/gateway-offline"))).toBe("offline");
  expect(await kind(refusal(503, "/problems/gateway-busy"))).toBe("busy");
  expect(await kind(refusal(0))).toBe("unknown");
  expect(await kind(refusal(502))).toBe("unknown");
  expect(await kind(refusal(403))).toBe("forbidden");
  expect(await kind(refusal(422))).toBe("failed");
});

test("what was refused is not given again under the same id", () => {
  expect(mayRepeat({ kind: "refused", reason: "" })).toBe(false);
});
