/** One policy for every read: what is worth another try, and what a lost session means. */
import { QueryCache, QueryClient } from "@tanstack/react-query";
import { ApiError } from "../api/client";
import { sessionQuery } from "../api/queries";

/** A refusal stays a refusal; only a missing or broken backend is worth asking again. */
export function worthRetrying(failures: number, error: unknown): boolean {
  const transient = error instanceof ApiError && (error.unreachable || error.status >= 500);
  return transient && failures < 2;
}

export function createQueryClient(): QueryClient {
  const client: QueryClient = new QueryClient({
    queryCache: new QueryCache({
      onError: (error) => {
        // The page shows the sign-in form in place of its content; the address stays, so signing in returns to it.
        if (error instanceof ApiError && error.unauthenticated) client.setQueryData(sessionQuery.queryKey, null);
      },
    }),
    defaultOptions: { queries: { retry: worthRetrying, staleTime: 1_000, networkMode: "always" } },
  });
  return client;
}
