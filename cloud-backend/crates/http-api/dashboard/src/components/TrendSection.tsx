/** The live trend of a machine: what to show, over what span, one panel per unit. */
import { SegmentedControl, Switch } from "@mantine/core";
import { useState } from "react";
import type { Alarm, MachineDetail } from "../api/types";
import { RANGES, type TrendRange } from "../lib/ranges";
import { drawable } from "../lib/selection";
import { newestAt, panelsByUnit } from "../lib/trend";
import { t } from "../text";
import { Loadable } from "./Loadable";
import { Moment } from "./Moment";
import { TagChips } from "./TagChips";
import { TrendPanel } from "./TrendPanel";
import css from "./TrendSection.module.css";
import { useTrend } from "./useTrend";

interface TrendSectionProps {
  tenant: string;
  machine: MachineDetail;
  active: Alarm[];
  tags: string[];
  range: TrendRange;
  onTags: (tags: string[]) => void;
  onRange: (range: string) => void;
}

export function TrendSection({ tenant, machine, active, tags, range, onTags, onRange }: TrendSectionProps) {
  const [limits, setLimits] = useState(true);
  const trend = useTrend(tenant, machine, tags, range);
  const newest = newestAt(trend.columns);
  return (
    <section aria-labelledby="trend-heading" className="panel">
      <div className={css["bar"]}>
        <h2 id="trend-heading">{t.machine.trend}</h2>
        <SegmentedControl
          size="xs"
          aria-label={t.machine.range}
          value={range.id}
          onChange={onRange}
          data={RANGES.map(({ id }) => ({ value: id, label: t.machine.ranges[id] ?? id }))}
        />
        <Switch size="xs" label={t.machine.showLimits} checked={limits} onChange={(event) => setLimits(event.currentTarget.checked)} />
        {newest !== null && (
          <span className={css["newest"]} data-newest={newest}>
            {t.machine.newest} <Moment at={newest} />
          </span>
        )}
      </div>
      {machine.tags.some(drawable) ? <TagChips machine={machine} chosen={tags} onChange={onTags} /> : <p>{t.machine.noPlottable}</p>}
      {tags.length === 0 ? (
        <p className={css["note"]}>{t.machine.chooseTag}</p>
      ) : (
        <Loadable query={trend.query}>
          {(samples) => (
            <>
              {newest === null && <p className={css["note"]}>{t.machine.noPoint}</p>}
              {panelsByUnit(trend.columns).map((panel, _, all) => (
                <TrendPanel
                  key={panel.key}
                  panel={panel}
                  panels={all.length}
                  machine={machine}
                  chosen={tags}
                  active={active}
                  limits={limits}
                  range={range}
                />
              ))}
              {samples.truncated && <p className={css["note"]}>{t.machine.truncated}</p>}
              {samples.series.some((each) => each.downsampled) && <p className={css["note"]}>{t.machine.thinned}</p>}
            </>
          )}
        </Loadable>
      )}
    </section>
  );
}
