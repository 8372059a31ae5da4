import { afterEach, expect, test, vi } from "vitest";
import { ApiError, apiUrl, request } from "./client";

const answer = (status: number, body: string, type = "application/problem+json") =>
  vi.stubGlobal(
    "fetch",
    vi.fn(async () => new Response(status === 204 ? null : body, { status, headers: { "Content-Type": type } })),
  );
const failure = () => request("GET", "/api/v1/x").then(
  () => { throw new Error("the request should have failed"); },
  (error: unknown) => error as ApiError,
);
afterEach(() => vi.unstubAllGlobals());

test("addresses escape their segments and repeat list parameters", () => {
  expect(apiUrl(["tenants", "a/b", "x"], { tag: ["p.1", "q&r"], points: 10, cursor: undefined })).toBe(
    "/api/v1/tenants/a%2Fb/x?tag=p.1&tag=q%26r&points=10",
  );
});

test("a problem document becomes an error that says its detail", async () => {
  answer(404, JSON.stringify({ type: "about:blank", title: "Not found", status: 404, detail: "no machine press-9", instance: "r1" }));
  const error = await failure();
  expect(error).toBeInstanceOf(ApiError);
  expect([error.status, error.message, error.problem.instance]).toEqual([404, "no machine press-9", "r1"]);
});

test("an HTML error page of a proxy is still an error with its status", async () => {
  answer(502, "<html>", "text/html");
  const error = await failure();
  expect([error.status, error.unreachable]).toEqual([502, false]);
});

test("the status line wins over a status inside the body", async () => {
  answer(401, JSON.stringify({ status: 200, title: "odd" }));
  expect((await failure()).unauthenticated).toBe(true);
});

test("a backend that cannot be reached is told apart from one that refuses", async () => {
  vi.stubGlobal("fetch", vi.fn(async () => { throw new TypeError("Failed to fetch"); }));
  const error = await failure();
  expect([error.unreachable, error.unauthenticated]).toEqual([true, false]);
});

test("a good status without JSON is an error, not an empty page", async () => {
  answer(200, "<html>", "text/html");
  expect((await failure()).status).toBe(502);
});

test("only state changes carry the header against forged requests", async () => {
  answer(204, "");
  await request("DELETE", "/api/v1/session");
  await request("GET", "/api/v1/session");
  const sent = vi.mocked(fetch).mock.calls.map(([, init]) => (init?.headers as Record<string, string>)["X-Requested-With"]);
  expect(sent).toEqual(["fetch", undefined]);
});
