import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openStream, type StreamHandlers } from "./stream";

class FakeSource extends EventTarget {
  readyState: 0 | 1 | 2 = 0;
  close = vi.fn();
  emit(name: string, data: unknown) {
    this.dispatchEvent(new MessageEvent(name, { data: typeof data === "string" ? data : JSON.stringify(data) }));
  }
  fail(readyState: 0 | 2) {
    this.readyState = readyState;
    this.dispatchEvent(new Event("error"));
  }
}

let sources: FakeSource[];
let seen: string[];
const handlers: StreamHandlers = {
  opened: () => seen.push("opened"),
  lost: () => seen.push("lost"),
  values: (event) => seen.push(`values ${event.machine}`),
  alarm: (event) => seen.push(`alarm ${event.alarm}`),
  gateway: (event) => seen.push(`gateway ${event.online}`),
  resync: () => seen.push("resync"),
  refused: () => seen.push("refused"),
};
let closers: (() => void)[] = [];
const start = () => {
  const close = openStream("/live", handlers, () => {
    const source = new FakeSource();
    sources.push(source);
    return source as unknown as EventSource;
  });
  closers.push(close);
  return close;
};
const first = () => sources[0] as FakeSource;

beforeEach(() => {
  vi.useFakeTimers();
  sources = [];
  seen = [];
});
afterEach(() => {
  closers.forEach((close) => close());
  closers = [];
  vi.useRealTimers();
});

test("every named event reaches its handler", () => {
  start();
  first().dispatchEvent(new Event("open"));
  first().emit("values", { machine: "m" });
  first().emit("alarm", { alarm: "a" });
  first().emit("gateway", { online: false });
  first().emit("resync", {});
  expect(seen).toEqual(["opened", "values m", "alarm a", "gateway false", "resync"]);
});

test("a message that is not JSON is skipped", () => {
  start();
  first().emit("values", "{");
  first().emit("values", { machine: "m" });
  expect(seen).toEqual(["values m"]);
});

test("after a broken connection the page refetches, because events were missed", () => {
  start();
  first().dispatchEvent(new Event("open"));
  first().fail(0);
  first().dispatchEvent(new Event("open"));
  expect(seen).toEqual(["opened", "lost", "opened", "resync"]);
  expect(sources.length).toBe(1);
});

test("a refused stream is opened anew after a pause", () => {
  start();
  first().fail(2);
  expect(seen).toEqual(["lost", "refused"]);
  vi.advanceTimersByTime(2_999);
  expect(sources.length).toBe(1);
  vi.advanceTimersByTime(1);
  expect(sources.length).toBe(2);
});

test("closing ends the source and a pending retry", () => {
  const close = start();
  first().fail(2);
  close();
  vi.advanceTimersByTime(60_000);
  expect(sources.length).toBe(1);
  expect(first().close).toHaveBeenCalled();
});

test("a connection that goes silent is replaced, and what was missed is fetched", () => {
  start();
  first().dispatchEvent(new Event("open"));
  vi.advanceTimersByTime(20_000);
  first().emit("values", { machine: "m" });
  vi.advanceTimersByTime(29_999);
  expect(sources.length).toBe(1);
  vi.advanceTimersByTime(1);
  expect(first().close).toHaveBeenCalled();
  sources[1]?.dispatchEvent(new Event("open"));
  expect(seen).toEqual(["opened", "values m", "opened", "resync"]);
});

test("a connection that does not open in five seconds is lost, and tried again", () => {
  start();
  vi.advanceTimersByTime(5_000);
  expect(seen).toEqual(["lost"]);
  vi.advanceTimersByTime(3_000);
  expect(sources.length).toBe(2);
});

test("a browser that goes offline is believed at once", () => {
  start();
  first().dispatchEvent(new Event("open"));
  dispatchEvent(new Event("offline"));
  expect(seen).toEqual(["opened", "lost"]);
  expect(first().close).toHaveBeenCalled();
});
