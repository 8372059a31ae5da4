import { describe, expect, it } from "vitest";
import { certificateWords, needsAttention } from "./certificate";

const certificate = (days_left: number, revoked = false) => ({
  expires_at: "2026-12-01T00:00:00Z",
  days_left,
  revoked,
});

describe("a gateway's certificate", () => {
  it("is nobody's concern while it is renewed in time", () => {
    expect(needsAttention(certificate(10))).toBe(false);
    expect(certificateWords(certificate(29))).toBe("29 days left");
    expect(certificateWords(certificate(1))).toBe("1 day left");
  });

  it("needs somebody when it was not renewed, has ended, or was revoked", () => {
    expect(needsAttention(certificate(9))).toBe(true);
    expect([certificateWords(certificate(-1)), needsAttention(certificate(-1))]).toEqual(["ended", true]);
    expect([certificateWords(certificate(20, true)), needsAttention(certificate(20, true))]).toEqual(["revoked", true]);
  });
});
