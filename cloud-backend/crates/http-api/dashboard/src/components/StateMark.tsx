/** A machine's state as glyph and word. Running is normal, so it has no colour; down is inverted, not red. */
import type { MachineState } from "../api/types";
import { t } from "../text";
import css from "./StateMark.module.css";

const GLYPHS: Record<MachineState | "unknown", string> = {
  running: "M3 2l9 5-9 5z",
  idle: "M3 2h3v10H3zM8 2h3v10H8z",
  down: "M2 2h10v10H2z",
  setup: "M7 1l1.2 2.4 2.6-.6-.6 2.6L12.6 7l-2.4 1.2.6 2.6-2.6-.6L7 12.6l-1.2-2.4-2.6.6.6-2.6L1.4 7l2.4-1.2-.6-2.6 2.6.6zM7 5a2 2 0 1 0 0 4 2 2 0 0 0 0-4z",
  unknown: "M2 6h10v2H2z",
};

export function StateMark({ state }: { state: MachineState | null }) {
  return (
    <span className={css["state"]} data-state={state ?? "unknown"}>
      <svg width="14" height="14" viewBox="0 0 14 14" aria-hidden>
        <path d={GLYPHS[state ?? "unknown"]} fillRule="evenodd" fill="currentColor" />
      </svg>
      {state === null ? t.stateUnknown : t.state[state]}
    </span>
  );
}
