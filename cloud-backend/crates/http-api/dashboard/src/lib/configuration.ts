/** How a gateway stands to its configuration from the cloud. */
import type { ConfigurationStatus, Rollout } from "../api/types";

/** Rollouts in which somebody must act: the gateway does not run what it should. */
const STUCK: readonly Rollout[] = ["rolled_back", "refused", "drifted"];

export const isStuck = (status: ConfigurationStatus): boolean => STUCK.includes(status.rollout);

/** Why it is stuck: the gateway's own words, else the files edited there; null while it is not. */
export function stuckReason(status: ConfigurationStatus): string | null {
  if (!isStuck(status) || status.report === null) return null;
  const { detail } = status.report;
  return detail === "" ? editedFiles(status) || null : (detail.split("\n")[0] ?? null);
}

/** The files edited at the gateway, with what was done to each. */
export function editedFiles(status: ConfigurationStatus): string {
  const drift = status.report?.drift ?? [];
  return drift.map(({ file, change }) => (change === "changed" ? file : `${file} (${change})`)).join(", ");
}
