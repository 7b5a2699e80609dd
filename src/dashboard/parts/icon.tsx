/** Outlines on a grid of 16, drawn in the text's colour. */
const shapes = {
  fleet: "M2.5 2.5h4v4h-4zM9.5 2.5h4v4h-4zM2.5 9.5h4v4h-4zM9.5 9.5h4v4h-4z",
  tasks: "M2.5 4l1.2 1.2L6 3M8.5 4h5M2.5 9l1.2 1.2L6 8M8.5 9h5M8.5 13.5h5M3 13.5h2.5",
  errors: "M8 2.2l6.3 11.3H1.7zM8 6.5v3.2M8 11.4v.6",
  runs: "M13.5 8A5.5 5.5 0 1 1 11.6 3.8M13.5 2v3h-3",
  trackers: "M8 2.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11zM8 6.2a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.6z",
  audit: "M3.5 2.5h6l3 3v8h-9zM9.5 2.5v3h3M5.5 8.5h5M5.5 11h3.5",
  events: "M1.5 8h3l2-5 3 10 2-5h3",
  tokens: "M10.3 2.5a3.2 3.2 0 1 1 0 6.4 3.2 3.2 0 0 1 0-6.4zM8 8l-5.5 5.5M4 12l1.6 1.6",
  search: "M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9zM10.3 10.3l3.4 3.4",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  check: "M3 8.5l3.2 3.2L13 4.8",
  system: "M2 3h12v8H2zM5.5 13.5h5M8 11v2.5",
  light:
    "M8 5.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6zM8 1.2v1.6M8 13.2v1.6M1.2 8h1.6M13.2 8h1.6M3.2 3.2l1.1 1.1M11.7 11.7l1.1 1.1M3.2 12.8l1.1-1.1M11.7 4.3l1.1-1.1",
  dark: "M13.2 9.6A5.6 5.6 0 0 1 6.4 2.8a5.6 5.6 0 1 0 6.8 6.8z",
  leave: "M6.5 2.5h-4v11h4M6 8h8M11 5l3 3-3 3",
  back: "M9.5 3L4.5 8l5 5",
  next: "M6.5 3l5 5-5 5",
  pause: "M5.5 3v10M10.5 3v10",
  play: "M4.5 2.8v10.4L13 8z",
  plus: "M8 3v10M3 8h10",
  more: "M3.2 8h.1M8 8h.1M12.8 8h.1",
  menu: "M2.5 4h11M2.5 8h11M2.5 12h11",
  keys: "M1.5 4h13v8h-13zM4 6.5h.5M7 6.5h.5M10 6.5h.5M5 9.5h6",
  up: "M8 13V3.5M4 7l4-4 4 4",
  down: "M8 3v9.5M4 9l4 4 4-4",
} as const;

export type IconName = keyof typeof shapes;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={shapes[name]} />
    </svg>
  );
}
