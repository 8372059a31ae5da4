/**
 * The one EventSource of a tenant. The browser reconnects by itself after a broken connection, but gives up when the backend
 * refuses (401, 404, 5xx): then the stream asks its owner whether to go on, and opens a new one after a pause.
 */
import type { GatewayEvent, Transition, ValuesEvent } from "../api/types";

export interface StreamHandlers {
  opened(): void;
  lost(): void;
  values(event: ValuesEvent): void;
  alarm(event: Transition): void;
  gateway(event: GatewayEvent): void;
  resync(): void;
  /** The backend refused; the session may have ended. */
  refused(): void;
}

/** Pause before a new attempt after one that failed for good. */
const RETRY_MS = 3_000;
/** A stream that is not open by then is called lost. */
const OPEN_WITHIN_MS = 5_000;
/**
 * A pulled cable breaks no connection: it just goes silent. Values come every second while a gateway is online (the
 * keep-alive comments never reach us), so after this long a new connection finds out.
 */
const SILENCE_MS = 30_000;

type Source = Pick<EventSource, "addEventListener" | "close" | "readyState">;
export type OpenSource = (url: string) => Source;

/** Opens the stream and returns how to close it. */
export function openStream(
  url: string,
  handlers: StreamHandlers,
  open: OpenSource = (address) => new EventSource(address),
): () => void {
  let source: Source;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let missed = false;

  const later = (ms: number, act: () => void) => {
    clearTimeout(timer);
    timer = setTimeout(act, ms);
  };
  const lose = () => {
    missed = true;
    handlers.lost();
  };
  const restart = () => {
    source.close();
    later(RETRY_MS, connect);
  };
  const giveUp = () => {
    lose();
    restart();
  };
  const listen = () =>
    later(SILENCE_MS, () => {
      missed = true;
      source.close();
      connect();
    });
  const connect = () => {
    const mine = (source = open(url));
    later(OPEN_WITHIN_MS, giveUp);
    mine.addEventListener("open", () => {
      handlers.opened();
      // What happened meanwhile was not sent to us.
      if (missed) handlers.resync();
      missed = false;
      listen();
    });
    mine.addEventListener("error", () => {
      lose();
      if (mine.readyState !== 2 /* CLOSED */) return later(OPEN_WITHIN_MS, giveUp);
      handlers.refused();
      restart();
    });
    const on = <T>(name: string, handle: (event: T) => void) => {
      mine.addEventListener(name, (event) => {
        listen();
        const data = parse<T>((event as MessageEvent<string>).data);
        if (data !== null) handle(data);
      });
    };
    on<ValuesEvent>("values", handlers.values);
    on<Transition>("alarm", handlers.alarm);
    on<GatewayEvent>("gateway", handlers.gateway);
    on("resync", handlers.resync);
  };

  connect();
  // The browser knows that the network is gone long before the connection does.
  addEventListener("offline", giveUp);
  return () => {
    removeEventListener("offline", giveUp);
    clearTimeout(timer);
    source.close();
  };
}

/** A message that is not JSON is skipped: the next one comes within a second. */
function parse<T>(text: string): T | null {
  try {
    return JSON.parse(text) as T;
  } catch {
    return null;
  }
}
