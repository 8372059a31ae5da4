/** uPlot as a component: built anew when its make-up changes, fed every second, sized with its box. */
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { serverNow } from "../lib/clock";
import type { Zone } from "../lib/format";
import type { Column } from "../lib/trend";
import css from "./Chart.module.css";
import { chartData, chartOptions, type ChartLimit, type View } from "./chartOptions";
import type { LineStyle } from "./TrendPanel";

export type { ChartLimit } from "./chartOptions";

interface ChartProps {
  label: string;
  columns: Column[];
  styles: LineStyle[];
  limits: ChartLimit[];
  rangeMs: number;
  height: number;
  zone: Zone;
  scheme: "light" | "dark";
  onHover: (at: number | null) => void;
}

export function Chart(props: ChartProps) {
  const { label, columns, styles, limits, rangeMs, height, zone, scheme, onHover } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  const view = useRef<View>({ limits, rangeMs, endMs: serverNow() });
  // What uPlot cannot change in a living chart.
  const makeUp = JSON.stringify([columns.map((each) => [each.tag, each.dataType, each.envelope !== null]), styles, height, zone, scheme]);

  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const tokens = getComputedStyle(document.documentElement);
    const color = (token: string) => tokens.getPropertyValue(token).trim();
    const options = chartOptions({ columns, styles, height, zone, width: element.clientWidth, color, view: view.current, onHover });
    const chart = new uPlot(options, chartData(columns), element);
    plot.current = chart;
    const observer = new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.destroy();
      plot.current = null;
    };
    // The columns themselves change every second and are fed below.
  }, [makeUp]);

  useEffect(() => {
    Object.assign(view.current, { limits, rangeMs, endMs: serverNow() });
    plot.current?.setData(chartData(columns));
  }, [columns, limits, rangeMs]);

  return <div ref={box} className={css["chart"]} role="img" aria-label={label} style={{ height }} />;
}
