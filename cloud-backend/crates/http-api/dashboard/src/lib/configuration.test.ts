import { expect, test } from "vitest";
import type { ConfigurationReport, ConfigurationStatus } from "../api/types";
import { editedFiles, isStuck, stuckReason } from "./configuration";

const report = (extra: Partial<ConfigurationReport>): ConfigurationReport => ({
  received_at: "2026-11-22T15:00:00.000Z",
  state: "drifted",
  version: 2,
  detail: "",
  drift: [],
  files_digest: "00",
  agent_version: "0.1.0",
  ...extra,
});

const status = (rollout: ConfigurationStatus["rollout"], said: ConfigurationReport | null): ConfigurationStatus => ({
  rollout,
  desired: 2,
  applied: 1,
  report: said,
});

test("a gateway that does not run what it should is told with its first line of why", () => {
  const refused = status("refused", report({ state: "refused", detail: "press.toml:3: unit: unknown\nand more" }));
  expect(isStuck(refused)).toBe(true);
  expect(stuckReason(refused)).toBe("press.toml:3: unit: unknown");
});

test("files edited at the gateway are named with what was done to them", () => {
  const drift = [{ file: "a.toml", change: "changed" as const }, { file: "b.toml", change: "removed" as const }];
  const drifted = status("drifted", report({ drift }));
  expect(editedFiles(drifted)).toBe("a.toml, b.toml (removed)");
  expect(stuckReason(drifted)).toBe("a.toml, b.toml (removed)");
});

test("what takes its time is not stuck", () => {
  for (const rollout of ["unmanaged", "pending", "trial", "applied"] as const) {
    expect(isStuck(status(rollout, report({ detail: "tries" })))).toBe(false);
    expect(stuckReason(status(rollout, report({ detail: "tries" })))).toBeNull();
  }
  expect(stuckReason(status("drifted", null))).toBeNull();
});
