import { Button, Chip } from "@mantine/core";
import { useState } from "react";
import type { MachineDetail } from "../api/types";
import { MOST_TAGS, drawable } from "../lib/selection";
import { t } from "../text";
import css from "./TagChips.module.css";

interface TagChipsProps {
  machine: MachineDetail;
  chosen: string[];
  onChange: (tags: string[]) => void;
}

export function TagChips({ machine, chosen, onChange }: TagChipsProps) {
  // Twenty chips fill a phone's screen; there the chosen ones are enough until all are asked for.
  const [all, setAll] = useState(false);
  const full = chosen.length >= MOST_TAGS;
  return (
    <fieldset className={css["chips"]} data-all={all}>
      <legend className="visually-hidden">{t.machine.tagChips(MOST_TAGS)}</legend>
      <Chip.Group multiple value={chosen} onChange={onChange}>
        {machine.tags.filter(drawable).map((tag) => (
          <Chip key={tag.id} value={tag.id} size="xs" radius="sm" variant="outline" disabled={full && !chosen.includes(tag.id)} className={css["chip"] ?? ""}>
            {tag.name}
          </Chip>
        ))}
      </Chip.Group>
      <Button hiddenFrom="sm" variant="default" size="compact-xs" onClick={() => setAll(!all)} aria-expanded={all}>
        {all ? t.machine.fewerTags : t.machine.allTags}
      </Button>
    </fieldset>
  );
}
