/** Which tags a trend shows. */
import type { MachineDetail, Tag } from "../api/types";

/** More lines than this cannot be told apart. */
export const MOST_TAGS = 6;

export const drawable = (tag: Tag): boolean => tag.data_type !== "text";

/**
 * The tags named in the address, as far as the machine has them and they can be drawn.
 * Without a choice: what has an alarm, or else the first headline. An empty text is a choice: none.
 */
export function chosenTags(machine: Pick<MachineDetail, "tags" | "alarms" | "headline">, wanted: string | undefined): string[] {
  const ids = new Set(machine.tags.filter(drawable).map((tag) => tag.id));
  const watched = machine.alarms.flatMap((alarm) => alarm.tag ?? []);
  const proposal = [...watched, ...machine.headline.map((each) => each.tag)];
  if (wanted === undefined) return proposal.filter((id) => ids.has(id)).slice(0, 1);
  return [...new Set(wanted.split(","))].filter((id) => ids.has(id)).slice(0, MOST_TAGS);
}
