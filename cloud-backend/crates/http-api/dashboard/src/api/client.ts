/** One way to talk to the API: same-origin JSON, the session cookie, RFC 9457 problems as `ApiError`. */
import { observeServerDate } from "../lib/clock";
import type { Problem } from "./types";

/** A refused request (`status` 400 to 599) or, with status 0, a backend that could not be reached. */
export class ApiError extends Error {
  readonly status: number;
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail ?? problem.title);
    this.name = "ApiError";
    this.status = problem.status;
    this.problem = problem;
  }

  get unauthenticated(): boolean {
    return this.status === 401;
  }

  get unreachable(): boolean {
    return this.status === 0;
  }
}

/** Longer than any honest answer, short enough that a dead network is noticed. */
const TIMEOUT_MS = 15_000;

export type Query = Record<string, string | number | readonly string[] | undefined>;

/** The path below `/api/v1`, with every segment and parameter escaped. */
export function apiUrl(segments: readonly string[], query: Query = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue;
    if (typeof value === "object") value.forEach((each) => params.append(name, each));
    else params.append(name, String(value));
  }
  const search = params.toString();
  return `/api/v1/${segments.map(encodeURIComponent).join("/")}${search && `?${search}`}`;
}

/** Sends one request and returns its JSON; a 204 returns `undefined`. */
export async function request<T>(
  method: "GET" | "POST" | "DELETE",
  url: string,
  body?: unknown,
  more: Record<string, string> = {},
): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json", ...more };
  // The backend refuses a state change without this header: another site's form cannot set it.
  if (method !== "GET") headers["X-Requested-With"] = "fetch";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const init: RequestInit = { method, headers, credentials: "same-origin", signal: AbortSignal.timeout(TIMEOUT_MS) };
  if (body !== undefined) init.body = JSON.stringify(body);
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (cause) {
    throw new ApiError({ type: "about:blank", title: String(cause), status: 0 });
  }
  observeServerDate(response.headers.get("Date"));
  if (!response.ok) throw new ApiError(await problemOf(response));
  if (response.status === 204) return undefined as T;
  return (await response.json().catch(() => {
    throw new ApiError({ type: "about:blank", title: `${url} answered with something that is not JSON`, status: 502 });
  })) as T;
}

async function problemOf(response: Response): Promise<Problem> {
  const fallback: Problem = {
    type: "about:blank",
    title: response.statusText || `HTTP ${response.status}`,
    status: response.status,
  };
  const body: unknown = await response.json().catch(() => null);
  if (typeof body !== "object" || body === null) return fallback;
  // The status line decides: a proxy may have put its own error around a foreign body.
  return { ...fallback, ...(body as Partial<Problem>), status: response.status };
}
