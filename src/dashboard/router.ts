import { computed, signal } from "@preact/signals";

/**
 * A place in the dashboard. It stands in the address's fragment: every address of the dashboard is then `/` for the
 * server, none can collide with a path of the API, and reloading stays where one was.
 */
export interface Place {
  /** Decoded segments: `#/agents/gpu-1` is ["agents", "gpu-1"]. */
  readonly path: readonly string[];
  readonly query: URLSearchParams;
}

function read(): Place {
  const text = location.hash.replace(/^#\/?/, "");
  const [path = "", query = ""] = text.split("?", 2);
  return { path: path.split("/").filter(Boolean).map(decode), query: new URLSearchParams(query) };
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** Where the page is. */
export const place = signal(read());
/** Names the view, such as "agents". */
export const viewName = computed(() => place.value.path[0] ?? "fleet");

window.addEventListener("hashchange", () => {
  place.value = read();
});

/** The address of a place. */
export function href(path: readonly string[], query: Readonly<Record<string, string>> = {}): string {
  const words = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "")).toString();
  return `#/${path.map(encodeURIComponent).join("/")}${words === "" ? "" : `?${words}`}`;
}

/** Goes to a place, as a new entry of the browser's history. */
export function go(path: readonly string[], query: Readonly<Record<string, string>> = {}): void {
  location.hash = href(path, query);
}

/** Changes the query of the present place without a new entry in the history. */
export function refine(changes: Readonly<Record<string, string>>): void {
  const query = { ...Object.fromEntries(place.value.query), ...changes };
  replace(href(place.value.path, query));
}

/** Takes the place of the present entry in the history, so that going back does not lead to it. */
export function replace(to: string): void {
  history.replaceState(null, "", to);
  place.value = read();
}
