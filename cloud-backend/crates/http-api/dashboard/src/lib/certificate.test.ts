import { describe, expect, it } from "vitest";
import { certificateUrgency, certificateWords } from "./certificate";

const certificate = (days_left: number, life_left_percent: number, revoked = false) => ({
  expires_at: "2026-12-01T00:00:00Z",
  days_left,
  life_left_percent,
  revoked,
});

describe("a gateway's certificate", () => {
  it("is nobody's concern while it is renewed in time, however short its life is", () => {
    expect(certificateUrgency(certificate(7, 25))).toBeNull();
    expect(certificateUrgency(certificate(0, 34))).toBeNull();
    expect(certificateWords(certificate(29, 97))).toBe("29 days left");
    expect(certificateWords(certificate(1, 90))).toBe("1 day left");
  });

  it("warns below a quarter of its life, in colour and in words, and below a tenth at once", () => {
    const ending = certificate(7, 24);
    expect([certificateUrgency(ending), certificateWords(ending)]).toEqual(["high", "7 days left, not renewed"]);
    expect(certificateUrgency(certificate(3, 10))).toBe("high");
    expect(certificateUrgency(certificate(2, 9))).toBe("critical");
  });

  it("is as urgent when it has ended or was revoked", () => {
    const [ended, revoked] = [certificate(-1, 0), certificate(20, 66, true)];
    expect([certificateWords(ended), certificateUrgency(ended)]).toEqual(["ended", "critical"]);
    expect([certificateWords(revoked), certificateUrgency(revoked)]).toEqual(["revoked", "critical"]);
  });
});
