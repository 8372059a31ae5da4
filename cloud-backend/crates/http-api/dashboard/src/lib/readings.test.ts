import { expect, test } from "vitest";
import type { Tag } from "../api/types";
import { newestReading } from "./readings";

const at = (ms: number) => new Date(ms).toISOString();
const tag: Tag = {
  id: "t",
  name: "T",
  unit: "bar",
  enumeration: [],
  data_type: "float",
  latest: { value: 1, quality: "BadTimeout", good: false, at: at(5_000) },
};

test("a live value of the same instant or newer wins over the stored one", () => {
  const live = { value: 2, bad: null, at: 5_000 };
  expect(newestReading(tag, live)).toBe(live);
});

test("a stored value newer than the last live one is shown with its quality", () => {
  expect(newestReading(tag, { value: 2, bad: null, at: 4_000 })).toEqual({ value: 1, bad: "BadTimeout", at: 5_000 });
});

test("a tag that never had a value has none", () => {
  expect(newestReading({ ...tag, latest: null }, undefined)).toBeNull();
});
