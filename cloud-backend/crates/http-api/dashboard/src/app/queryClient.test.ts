import { expect, test } from "vitest";
import { ApiError } from "../api/client";
import { sessionQuery } from "../api/queries";
import { createQueryClient, worthRetrying } from "./queryClient";

const error = (status: number) => new ApiError({ type: "about:blank", title: "x", status });
const session = { username: "u", display_name: "U", role: "manager" as const, permissions: [], tenants: [] };
const failWith = async (status: number) => {
  const client = createQueryClient();
  client.setQueryData(sessionQuery.queryKey, session);
  await client.fetchQuery({ queryKey: ["x"], queryFn: () => Promise.reject(error(status)), retry: false }).catch(() => undefined);
  return client.getQueryData(sessionQuery.queryKey);
};

test("a read that answers 401 ends the session on the page", async () => {
  expect(await failWith(401)).toBeNull();
});

test("any other refusal leaves the session alone", async () => {
  expect(await failWith(404)).toEqual(session);
});

test("only a missing or broken backend is asked again, twice at most", () => {
  expect([0, 404, 401, 503].map((status) => worthRetrying(0, error(status)))).toEqual([true, false, false, true]);
  expect(worthRetrying(2, error(0))).toBe(false);
});
