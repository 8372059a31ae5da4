import { afterEach, expect, test } from "vitest";
import { observeServerDate, serverNow } from "./clock";

const noon = Date.parse("2026-11-22T12:00:00Z");
afterEach(() => observeServerDate(new Date(noon).toUTCString(), noon));

test("a panel clock that is ten minutes slow is corrected", () => {
  observeServerDate(new Date(noon + 600_000).toUTCString(), noon);
  expect(serverNow(noon)).toBe(noon + 600_500);
});

test("a difference within the header's resolution is ignored", () => {
  observeServerDate(new Date(noon + 1_000).toUTCString(), noon);
  expect(serverNow(noon)).toBe(noon);
});

test("a missing or unreadable header changes nothing", () => {
  observeServerDate(new Date(noon + 600_000).toUTCString(), noon);
  observeServerDate(null, noon);
  observeServerDate("yesterday", noon);
  expect(serverNow(noon)).toBe(noon + 600_500);
});
