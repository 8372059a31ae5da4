/** What is said of the version of a gateway's agent. */
import type { Gateway } from "../api/types";
import { t } from "../text";
import { NONE } from "./format";

type Versions = Pick<Gateway, "agent_version" | "update">;

/** Whether another version is desired and the gateway has given it up. */
export function updateFailed({ update }: Versions): boolean {
  const { desired, running, state } = update;
  return desired !== null && desired !== running && (state === "rolled_back" || state === "failed" || state === "refused");
}

/** The version that runs, and the one that is desired where it is another. */
export function versionWords({ agent_version, update }: Versions): string {
  const { desired, running, state } = update;
  const runs = running ?? agent_version ?? NONE;
  if (desired === null || desired === running) return runs;
  return t.data.update.to(runs, desired, t.data.update.states[state ?? "idle"]);
}
