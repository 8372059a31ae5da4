import { expect, test } from "vitest";
import type { AlarmDefinition, Headline, Tag } from "../api/types";
import { MOST_TAGS, chosenTags } from "./selection";

const tag = (id: string, data_type: Tag["data_type"] = "float"): Tag => ({ id, name: id, unit: "", enumeration: [], data_type, latest: null });
const machine = {
  tags: [tag("state", "text"), ..."abcdefgh".split("").map((id) => tag(id))],
  alarms: [{ tag: "c" }, { tag: "d" }] as AlarmDefinition[],
  headline: [{ tag: "a" }] as Headline[],
};

test("without a choice the first alarmed tag is shown", () => {
  expect(chosenTags(machine, undefined)).toEqual(["c"]);
  expect(chosenTags({ ...machine, alarms: [] }, undefined)).toEqual(["a"]);
});

test("an address may name tags that do not exist, cannot be drawn, or twice", () => {
  expect(chosenTags(machine, "b,nothing,state,b,a")).toEqual(["b", "a"]);
});

test("at most six tags are shown, and choosing none is a choice", () => {
  expect(chosenTags(machine, "a,b,c,d,e,f,g,h").length).toBe(MOST_TAGS);
  expect(chosenTags(machine, "")).toEqual([]);
});
