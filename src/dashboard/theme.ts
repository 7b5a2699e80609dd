import { effect, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const KEY = "drover.theme";
const themes: readonly Theme[] = ["system", "light", "dark"];
const stored = localStorage.getItem(KEY);

/** What the user chose; `system` follows the machine. */
export const theme = signal<Theme>(themes.find((each) => each === stored) ?? "system");

effect(() => {
  document.documentElement.dataset.theme = theme.value;
  localStorage.setItem(KEY, theme.value);
});

/** The next choice: system, light, dark, and round again. */
export function nextTheme(): void {
  theme.value = themes[(themes.indexOf(theme.value) + 1) % themes.length] ?? "system";
}
