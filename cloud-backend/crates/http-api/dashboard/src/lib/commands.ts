/** What a person may do to an alarm, and how a command fares. */
import { ApiError } from "../api/client";
import type { AlarmAction, AlarmState, CommandStatus } from "../api/types";

/** The actions that a state asks for or allows, the usual one first. The gateway has the last word. */
export function actionsFor(state: AlarmState): AlarmAction[] {
  switch (state) {
    case "UNACK":
    case "RTNUN":
    case "LTUNK":
      return ["acknowledge", "shelve", "take_out_of_service"];
    case "LTACK":
      return ["reset", "shelve", "take_out_of_service"];
    case "NORM":
    case "ACKED":
    case "DSUPR":
      return ["shelve", "take_out_of_service"];
    case "SHLVD":
      return ["unshelve", "take_out_of_service"];
    case "OOSRV":
      return ["return_to_service"];
  }
}

/** Who hides an alarm says why. */
export const needsComment = (action: AlarmAction): boolean => action === "shelve" || action === "take_out_of_service";

/** An acknowledgement of one activation says nothing of the next. */
export const needsOccurrence = (action: AlarmAction): boolean => action === "acknowledge" || action === "reset";

const SHELF_SECONDS = [900, 3_600, 4 * 3_600, 8 * 3_600, 24 * 3_600, 7 * 24 * 3_600];

/** The times for which an alarm may be shelved, the longest allowed one last. */
export function shelfTimes(secondsMax: number): number[] {
  return [...SHELF_SECONDS.filter((seconds) => seconds < secondsMax), secondsMax];
}

/** An id for a command. `crypto.randomUUID` is missing where the page came over plain HTTP. */
export function commandId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** `unknown`: it may have been carried out; the same command may be given again. */
export type Outcome =
  | { kind: "done" | "expired" | "offline" | "busy" | "forbidden" }
  | { kind: "refused" | "failed" | "unknown"; reason: string };

interface Line {
  give: () => Promise<CommandStatus>;
  ask: () => Promise<CommandStatus>;
  pause: () => Promise<void>;
}

/** How often it is asked for an answer: for a minute, then nobody carries the command out any more. */
const ASKED_MAX = 60;

/** Gives a command and waits for what the gateway says. */
export async function carryOut({ give, ask, pause }: Line): Promise<Outcome> {
  try {
    let status = await give();
    for (let asked = 0; status.state === "waiting" && asked < ASKED_MAX; asked += 1) {
      await pause();
      status = await ask();
    }
    if (status.state === "waiting") return { kind: "unknown", reason: "" };
    return status.state === "refused" ? { kind: "refused", reason: status.reason ?? "" } : { kind: status.state };
  } catch (error) {
    return outcomeOf(error);
  }
}

function outcomeOf(error: unknown): Outcome {
  if (!(error instanceof ApiError)) return { kind: "failed", reason: String(error) };
  if (error.problem.type.endsWith("/gateway-offline")) return { kind: "offline" };
  if (error.problem.type.endsWith("/gateway-busy")) return { kind: "busy" };
  if (error.status === 403) return { kind: "forbidden" };
  // Nobody knows whether the backend had it.
  if (error.unreachable || error.status >= 500) return { kind: "unknown", reason: error.message };
  return { kind: "failed", reason: error.message };
}

/** Whether the same command may be given again under its id. */
export const mayRepeat = (outcome: Outcome): boolean => ["unknown", "offline", "busy"].includes(outcome.kind);
