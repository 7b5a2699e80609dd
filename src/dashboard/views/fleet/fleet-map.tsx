import { useEffect, useRef } from "preact/hooks";
import { plural } from "../../format.ts";
import type { AgentRow } from "../../live/agent-row.ts";
import { go } from "../../router.ts";
import { theme } from "../../theme.ts";
import type { Tone } from "../../words.ts";

const tones: readonly Tone[] = ["good", "work", "ready", "warn", "bad", "quiet"];

/** Side of a tile and the gap beside it, in CSS pixels: a small fleet gets large ones. */
function tileFor(agents: number): { side: number; gap: number } {
  if (agents <= 60) return { side: 18, gap: 4 };
  if (agents <= 400) return { side: 12, gap: 3 };
  if (agents <= 1500) return { side: 8, gap: 2 };
  return { side: 6, gap: 1 };
}

/** The whole fleet at a glance: a tile for each agent, in the order of the list. */
export function FleetMap({ rows, shown }: { rows: readonly AgentRow[]; shown: readonly AgentRow[] }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { side, gap } = tileFor(rows.length);
  const pitch = side + gap;
  const chosen = theme.value;
  useEffect(() => {
    const element = canvas.current;
    const box = element?.parentElement;
    if (element === null || !box) return;
    const paint = () =>
      draw(element, box.clientWidth, rows, new Set(shown.length === rows.length ? [] : shown), side, pitch);
    const watcher = new ResizeObserver(paint);
    watcher.observe(box);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", paint);
    return () => {
      watcher.disconnect();
      dark.removeEventListener("change", paint);
    };
  }, [rows, shown, side, pitch, chosen]);
  const at = (event: MouseEvent): AgentRow | undefined => {
    if (canvas.current === null) return undefined;
    const { clientWidth, clientHeight } = canvas.current;
    const { left, top, width, height } = canvas.current.getBoundingClientRect();
    // As shares, since a page that is shown larger has other pixels than the canvas was drawn with.
    const column = Math.floor((((event.clientX - left) / width) * clientWidth) / pitch);
    const line = Math.floor((((event.clientY - top) / height) * clientHeight) / pitch);
    const columns = Math.max(1, Math.floor((clientWidth + gap) / pitch));
    return column < columns ? rows[line * columns + column] : undefined;
  };
  const point = (event: MouseEvent) => {
    const row = at(event);
    if (canvas.current === null) return;
    canvas.current.title = row === undefined ? "" : `${row.name}: ${row.status.label}, ${row.liveness.label}`;
    canvas.current.style.cursor = row === undefined ? "default" : "pointer";
  };
  const open = (event: MouseEvent) => {
    const row = at(event);
    if (row !== undefined) go(["agents", row.name]);
  };
  return (
    <div class="fleet-map">
      <canvas
        ref={canvas}
        role="img"
        aria-label={`A map of ${plural(rows.length, "agent")}; the list below says the same`}
        onMouseMove={point}
        onClick={open}
      />
    </div>
  );
}

function draw(
  canvas: HTMLCanvasElement,
  width: number,
  rows: readonly AgentRow[],
  shown: ReadonlySet<AgentRow>,
  side: number,
  pitch: number,
): void {
  const columns = Math.max(1, Math.floor((width + pitch - side) / pitch));
  const height = Math.ceil(rows.length / columns) * pitch;
  const scale = window.devicePixelRatio || 1;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  if (pen === null) return;
  pen.scale(scale, scale);
  const colours = readColours(canvas);
  rows.forEach((row, index) => {
    pen.globalAlpha = shown.size === 0 || shown.has(row) ? 1 : 0.18;
    pen.fillStyle = colours[row.tone];
    pen.beginPath();
    const [x, y] = [(index % columns) * pitch, Math.floor(index / columns) * pitch];
    if (side > 8) pen.roundRect(x, y, side, side, 3);
    else pen.rect(x, y, side, side);
    pen.fill();
  });
}

/** The tones' colours in the theme in force: a canvas knows no variables. */
function readColours(canvas: HTMLCanvasElement): Record<Tone, string> {
  const probe = document.createElement("i");
  canvas.parentElement?.append(probe);
  const colours = tones.map((tone) => {
    probe.dataset.tone = tone;
    return [tone, getComputedStyle(probe).getPropertyValue("background-color")] as const;
  });
  probe.remove();
  // One entry for each of the tones.
  return Object.fromEntries(colours) as Record<Tone, string>;
}
