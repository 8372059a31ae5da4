import { expect, test } from "vitest";
import type { Ledger } from "../api/types";
import { bytesPerSample, lostSamples, rejectedTotal, unexplained } from "./ledger";

const ledger: Ledger = {
  gateway: "g",
  epoch: "0123456789abcdef",
  stream: "telemetry",
  committed_through: 10,
  received: 14,
  stored: 10,
  duplicate: 1,
  rejected: [
    { reason: "checksum", count: 2 },
    { reason: "unknown_kind", count: 1 },
  ],
  samples_stored: 1000,
  bytes_received: 2300,
  gaps: [
    { first: 3, last: 4, samples: 40, reason: "disk_full" },
    { first: 8, last: 8, samples: 2, reason: "disk_full" },
  ],
  dropped: [{ samples: 3, reason: "store_busy", from: "2026-11-22T12:00:00Z", to: "2026-11-22T12:00:01Z" }],
  last_received_at: null,
};

test("received is stored plus duplicate plus rejected", () => {
  expect(rejectedTotal(ledger)).toBe(3);
  expect(unexplained(ledger)).toBe(0);
});

test("a batch that no column explains is counted, not hidden", () => {
  expect(unexplained({ ...ledger, received: 16 })).toBe(2);
  expect(unexplained({ ...ledger, received: 13 })).toBe(-1);
});

test("gaps and dropped samples add up, and bytes per sample need a sample", () => {
  expect(lostSamples(ledger)).toBe(45);
  expect(bytesPerSample(ledger)).toBe(2.3);
  expect(bytesPerSample({ ...ledger, samples_stored: 0 })).toBeNull();
});
