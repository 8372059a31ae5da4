/** One chart: the tags of one unit, their limits, and a legend that follows the pointer. */
import { useComputedColorScheme } from "@mantine/core";
import { useMemo, useState } from "react";
import { useZone } from "../app/preferences";
import type { Alarm, MachineDetail } from "../api/types";
import { limitSign } from "../lib/alarms";
import { formatLimit, formatTime, formatValue, unitLabel } from "../lib/format";
import type { TrendRange } from "../lib/ranges";
import type { Column, Panel } from "../lib/trend";
import { t } from "../text";
import { Chart, type ChartLimit } from "./Chart";
import css from "./TrendPanel.module.css";

/** Enough for two lines of difference; more panels share the height of the screen. */
const HEIGHTS = [320, 230, 170];

const DASHES: number[][] = [[], [7, 4], [2, 3], [10, 3, 2, 3], [4, 2], [12, 5]];

export interface LineStyle {
  /** Name of the token that holds the colour. */
  color: string;
  dash: number[];
}

/** A tag keeps its colour and dash as long as the choice before it stays. */
const lineStyle = (index: number): LineStyle => ({ color: `--series-${(index % 6) + 1}`, dash: DASHES[index % 6] ?? [] });

interface TrendPanelProps {
  panel: Panel;
  panels: number;
  machine: MachineDetail;
  chosen: string[];
  active: Alarm[];
  limits: boolean;
  range: TrendRange;
}

export function TrendPanel({ panel, panels, machine, chosen, active, limits, range }: TrendPanelProps) {
  const zone = useZone();
  const scheme = useComputedColorScheme("light");
  const [hoverAt, setHoverAt] = useState<number | null>(null);
  const styles = panel.columns.map((column) => lineStyle(chosen.indexOf(column.tag)));
  const names = panel.columns.map((column) => nameOf(machine, column.tag));
  const unit = unitLabel(panel.unit);
  // Kept while only the pointer moves, so that the chart is not fed for each pixel.
  const shownLimits = useMemo(() => (limits ? limitsOf(panel, machine, active) : []), [limits, panel, machine, active]);
  return (
    <figure className={css["panel"]}>
      <figcaption className={css["legend"]}>
        {panel.columns.map((column, index) => (
          <span key={column.tag} className={css["entry"]}>
            <Swatch style={styles[index] ?? lineStyle(0)} /> {names[index]}{" "}
            <strong>
              {formatValue(valueAt(column, hoverAt), column.dataType)} {unit}
            </strong>
          </span>
        ))}
        {hoverAt !== null && <span className="dim">{formatTime(hoverAt, zone)}</span>}
      </figcaption>
      <Chart
        label={t.machine.chart(names.join(", "), t.machine.ranges[range.id] ?? range.id)}
        columns={panel.columns}
        styles={styles}
        limits={shownLimits}
        rangeMs={range.ms}
        height={HEIGHTS[Math.min(panels, HEIGHTS.length) - 1] ?? 170}
        zone={zone}
        scheme={scheme}
        onHover={setHoverAt}
      />
    </figure>
  );
}

function Swatch({ style }: { style: LineStyle }) {
  return (
    <svg width="22" height="8" viewBox="0 0 22 8" aria-hidden>
      <path d="M0 4h22" stroke={`var(${style.color})`} strokeWidth="2.4" strokeDasharray={style.dash.join(" ")} />
    </svg>
  );
}

/** The value that stood at this instant, or the newest; nothing inside a gap. */
function valueAt(column: Column, at: number | null): number | boolean | null {
  const index = at === null ? column.times.length - 1 : column.times.findLastIndex((each) => each <= at);
  const value = column.values[index] ?? null;
  return column.dataType === "bool" && value !== null ? value === 1 : value;
}

const nameOf = (machine: MachineDetail, id: string): string => machine.tags.find((tag) => tag.id === id)?.name ?? id;

function limitsOf(panel: Panel, machine: MachineDetail, active: Alarm[]): ChartLimit[] {
  const several = panel.columns.length > 1;
  return machine.alarms.flatMap((alarm) => {
    const { tag, limit } = alarm;
    // Only a limit of the value itself is a line in its chart.
    if (limitSign(alarm.kind) === null || limit === null || tag === null) return [];
    if (!panel.columns.some((column) => column.tag === tag)) return [];
    const text = t.machine.limit(t.kind[alarm.kind], formatLimit(limit));
    const isActive = active.some((each) => each.active && each.alarm === alarm.id);
    return [
      {
        at: limit,
        label: several ? `${nameOf(machine, tag)}: ${text}` : text,
        // An idle limit is part of the scale, so it has no alarm colour.
        color: isActive ? `--${alarm.priority}` : "--dim",
        active: isActive,
      },
    ];
  });
}
