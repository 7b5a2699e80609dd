import { useEffect } from "preact/hooks";
import { go } from "../router.ts";
import { nextTheme } from "../theme.ts";
import { pages } from "./pages.ts";
import { paletteOpen } from "./palette.tsx";

/** How long after g the second key may come, in milliseconds. */
const SECOND_KEY_MS = 1500;

/** Keys that work everywhere but in fields: / searches, g and a letter goes, Ctrl K opens the palette, t changes the theme. */
export function useShortcuts(): void {
  useEffect(() => {
    let pressedGAt = Number.NEGATIVE_INFINITY;
    const hear = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        paletteOpen.value = !paletteOpen.value;
        return;
      }
      if (
        event.ctrlKey ||
        event.metaKey ||
        event.altKey ||
        isField(event.target) ||
        document.querySelector("dialog[open]")
      )
        return;
      const second =
        event.timeStamp - pressedGAt < SECOND_KEY_MS ? pages.find(({ key }) => key === event.key) : undefined;
      pressedGAt = event.key === "g" ? event.timeStamp : Number.NEGATIVE_INFINITY;
      if (second !== undefined) go([second.name]);
      else if (event.key === "/" || event.key === "?") act(event);
      else if (event.key === "d") nextTheme();
    };
    document.addEventListener("keydown", hear);
    return () => document.removeEventListener("keydown", hear);
  }, []);
}

function act(event: KeyboardEvent): void {
  event.preventDefault();
  const search = document.querySelector("[data-search]");
  if (event.key === "/" && search instanceof HTMLInputElement) search.focus();
  else paletteOpen.value = true;
}

function isField(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches("input, textarea, select, [contenteditable]");
}
