import { describe, expect, it } from "vitest";
import type { UpdateStatus } from "../api/types";
import { updateFailed, versionWords } from "./update";

const gateway = (update: Partial<UpdateStatus>, agent_version: string | null = "1.0.0") => ({
  agent_version,
  update: { channel: "stable", running: "1.0.0", desired: null, state: null, detail: "", reported_at: null, ...update },
});

describe("the version of a gateway's agent", () => {
  it("is the one that runs while no other is desired", () => {
    expect(versionWords(gateway({}))).toBe("1.0.0");
    expect(versionWords(gateway({ running: "1.1.0", desired: "1.1.0", state: "done" }))).toBe("1.1.0");
    expect(versionWords(gateway({ running: null }))).toBe("1.0.0");
    expect(versionWords(gateway({ running: null }, null))).toBe("–");
  });

  it("says which one is desired and how far it is", () => {
    expect(versionWords(gateway({ desired: "1.1.0", state: "installing" }))).toBe("1.0.0, 1.1.0 is being installed");
    expect(versionWords(gateway({ desired: "1.1.0", state: "rolled_back" }))).toBe("1.0.0, 1.1.0 was rolled back");
    expect(versionWords(gateway({ running: null, desired: "1.1.0" }))).toBe("1.0.0, 1.1.0 is desired");
  });

  it("has failed only as long as another one is desired", () => {
    const failed = { desired: "1.1.0", state: "rolled_back" } as const;
    expect(updateFailed(gateway(failed))).toBe(true);
    expect(updateFailed(gateway({ ...failed, state: "installing" }))).toBe(false);
    expect(updateFailed(gateway({ ...failed, desired: "1.0.0" }))).toBe(false);
    expect(updateFailed(gateway({ ...failed, desired: null }))).toBe(false);
  });
});
