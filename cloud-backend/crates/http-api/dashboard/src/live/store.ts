/** Holds the live state and tells subscribers; `useSyncExternalStore` does the rest. */
import { initialLive, reduceLive, type LiveInput, type LiveState } from "./reducer";

export class LiveStore {
  #state: LiveState = initialLive;
  readonly #listeners = new Set<() => void>();

  readonly get = (): LiveState => this.#state;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  dispatch(input: LiveInput): void {
    const next = reduceLive(this.#state, input);
    if (next === this.#state) return;
    this.#state = next;
    this.#listeners.forEach((listener) => listener());
  }
}
