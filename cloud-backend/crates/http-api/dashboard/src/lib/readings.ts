/** Which of two sources knows the newest value of a tag. */
import type { Tag } from "../api/types";
import type { Reading } from "../live/reducer";
import { parseInstant } from "./format";

/** The newer of what is stored and what came live. */
export function newestReading(tag: Tag, live: Reading | undefined): Reading | null {
  const storedAt = parseInstant(tag.latest?.at);
  if (tag.latest === null || storedAt === null) return live ?? null;
  if (live !== undefined && live.at >= storedAt) return live;
  return { value: tag.latest.value, bad: tag.latest.good ? null : tag.latest.quality, at: storedAt };
}
