/** The states every page shares: waiting, failed, empty, and data that could not be refreshed. */
import { Button, Loader } from "@mantine/core";
import type { ReactNode } from "react";
import { ApiError } from "../api/client";
import { t } from "../text";
import css from "./Loadable.module.css";

export interface Loading<T> {
  data: T | undefined;
  error: Error | null;
  refetch: () => unknown;
}

interface LoadableProps<T> {
  query: Loading<T>;
  children: (data: T) => ReactNode;
}

/** Draws the data once there is some; what is shown keeps standing while a later read fails, but says so. */
export function Loadable<T>({ query, children }: LoadableProps<T>) {
  const retry = () => void query.refetch();
  if (query.data === undefined) {
    return query.error === null ? <Waiting /> : <Failure error={query.error} retry={retry} />;
  }
  return (
    <>
      {query.error !== null && (
        <div className={css["strip"]} role="status">
          {failureText(query.error)}
        </div>
      )}
      {children(query.data)}
    </>
  );
}

function failureText(error: Error): string {
  if (!(error instanceof ApiError)) return t.error.failed(error.message);
  if (error.unreachable) return t.error.unreachable;
  return error.status === 404 ? t.error.notFound : t.error.failed(error.message);
}

interface FailureProps {
  error: Error;
  retry: () => void;
  /** Where no page has put a heading yet. */
  heading?: boolean;
}

export function Failure({ error, retry, heading = false }: FailureProps) {
  const id = error instanceof ApiError ? error.problem.instance : undefined;
  return (
    <div className={css["note"]} role="alert">
      {heading && <h1>{t.product}</h1>}
      <p>{failureText(error)}</p>
      {id && <p>{t.error.request(id)}</p>}
      <Button variant="default" size="xs" onClick={retry}>
        {t.error.retry}
      </Button>
    </div>
  );
}

export function Waiting() {
  return (
    <div className={css["note"]} role="status">
      <Loader size="sm" color="var(--dim)" aria-hidden /> <span className="visually-hidden">{t.loading}</span>
    </div>
  );
}

export function Empty({ heading }: { heading: string }) {
  return (
    <main className={css["note"]}>
      <h1>{heading}</h1>
      <p>
        <a href="/">{t.error.backToFleet}</a>
      </p>
    </main>
  );
}

/** A fault of our own: say it, keep the way out. */
export function Crash({ error }: { error: unknown }) {
  return (
    <main className={css["note"]} role="alert">
      <h1>{t.error.crashed}</h1>
      <p>{error instanceof Error ? error.message : String(error)}</p>
      <Button variant="default" size="xs" onClick={() => location.reload()}>
        {t.error.reload}
      </Button>
    </main>
  );
}
