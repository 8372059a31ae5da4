/** Shows the page to whom is signed in, and the sign-in form at the same address to everybody else. */
import { useQuery } from "@tanstack/react-query";
import { createContext, useContext, useRef, type ReactNode } from "react";
import { sessionQuery } from "../api/queries";
import type { Session } from "../api/types";
import { Failure, Waiting } from "../components/Loadable";
import { SignInPage } from "../pages/SignInPage";

const SessionContext = createContext<Session | null>(null);

export function Gate({ children }: { children: ReactNode }) {
  const query = useQuery({ ...sessionQuery, refetchInterval: (of) => (of.state.status === "error" ? 3_000 : false) });
  const wasSignedIn = useRef(false);
  if (query.data) wasSignedIn.current = true;
  if (query.data === undefined) {
    return query.isError ? <Failure error={query.error} retry={() => void query.refetch()} heading /> : <Waiting />;
  }
  if (query.data === null) return <SignInPage ended={wasSignedIn.current} />;
  return <SessionContext value={query.data}>{children}</SessionContext>;
}

export function useSession(): Session {
  const session = useContext(SessionContext);
  if (session === null) throw new Error("useSession needs a Gate above it");
  return session;
}
