import { escapeForTerminal, fitText } from "./terminal-text.ts";

/** Tells a person how far something has come, on one line that is always the newest. */
export interface Progress {
  say(text: string): void;
  /** Takes the line away, before anything else is printed. */
  clear(): void;
}

interface Stream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const ERASE = "\r\u001b[2K";

/** Progress on a terminal that can erase a line; on anything else it says nothing. */
export function progressOn(
  stream: Stream,
  environment: Readonly<Record<string, string | undefined>>,
): Progress {
  if (stream.isTTY !== true || environment.TERM === "dumb") return { say: () => {}, clear: () => {} };
  let shown = false;
  return {
    say(text) {
      // A line that wraps could not be erased as one.
      stream.write(ERASE + fitText(escapeForTerminal(text), (stream.columns || 80) - 1));
      shown = true;
    },
    clear() {
      if (shown) stream.write(ERASE);
      shown = false;
    },
  };
}
