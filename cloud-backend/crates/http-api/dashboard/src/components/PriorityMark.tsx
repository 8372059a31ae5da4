/** An alarm's priority as shape, digit, colour and word: any one of them is enough to tell it. */
import type { Priority } from "../api/types";
import { priorityRank } from "../lib/alarms";
import { t } from "../text";
import css from "./PriorityMark.module.css";

const SHAPES: Record<Priority, string> = {
  critical: "M1.5 1.5h17v17h-17z",
  high: "M10 1.2 19 18.5H1z",
  medium: "M10 .8 19.2 10 10 19.2.8 10z",
  low: "M10 1a9 9 0 1 1 0 18 9 9 0 0 1 0-18z",
};

interface PriorityMarkProps {
  priority: Priority;
  /** `absent` where the text beside it says the word. */
  word?: "shown" | "absent";
  /** False for an alarm that is over: the outline alone remains. */
  active?: boolean;
}

export function PriorityMark({ priority, word = "shown", active = true }: PriorityMarkProps) {
  const rank = priorityRank(priority);
  return (
    <span className={css["mark"]} data-priority={priority} data-active={active}>
      <svg width="20" height="20" viewBox="0 0 20 20" aria-hidden>
        <path d={SHAPES[priority]} />
        <text x="10" y={priority === "high" ? 16 : 14.2} textAnchor="middle">
          {rank}
        </text>
      </svg>
      {word === "shown" && t.priority[priority]}
    </span>
  );
}
