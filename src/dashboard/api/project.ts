import { signal } from "@preact/signals";

const KEY = "drover.project";

/** The project that the server's own token looks at; empty for the token's own. */
export const project = signal(sessionStorage.getItem(KEY) ?? "");

export function chooseProject(name: string): void {
  sessionStorage.setItem(KEY, name);
  // Whatever the page holds is another project's: it begins anew.
  location.reload();
}

export function forgetProject(): void {
  sessionStorage.removeItem(KEY);
  project.value = "";
}
