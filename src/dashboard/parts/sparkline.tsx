import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Samples } from "../live/samples.ts";
import { theme } from "../theme.ts";

interface SparklineProps {
  readonly samples: Samples;
  /** Changes when a sample was added. */
  readonly version: number;
  readonly width: number;
  readonly height: number;
  /** What the line is of, for those who cannot see it. */
  readonly label: string;
  /** Bounds of the value, where it has some. */
  readonly range?: readonly [number, number];
}

/** A line of the page's own samples. */
export function Sparkline({ samples, version, width, height, label, range }: SparklineProps) {
  const element = useRef<HTMLSpanElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const chosen = theme.value;
  useEffect(() => {
    if (element.current === null) return;
    const stroke = getComputedStyle(element.current).color;
    plot.current = new uPlot(
      {
        width,
        height,
        pxAlign: 0,
        padding: [2, 1, 2, 1],
        cursor: { show: false },
        legend: { show: false },
        axes: [{ show: false }, { show: false }],
        scales: {
          x: { time: false },
          y: { range: (_, low, high) => (range === undefined ? around(low, high) : [range[0], range[1]]) },
        },
        series: [{}, { stroke, width: 1.5, points: { show: false }, fill: faded(stroke) }],
      },
      samples.data(),
      element.current,
    );
    return () => plot.current?.destroy();
  }, [samples, width, height, chosen]);
  useEffect(() => plot.current?.setData(samples.data()), [samples, version]);
  return (
    <span
      class="sparkline"
      ref={element}
      role="img"
      aria-label={label}
      style={{ width: `${width}px`, height: `${height}px` }}
    />
  );
}

/** A flat line lies in the middle, not on the edge. */
function around(low: number, high: number): [number, number] {
  const room = high > low ? (high - low) * 0.1 : Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

const faded = (colour: string): string => colour.replace(/^rgb\((.*)\)$/, "rgba($1, 0.12)");
