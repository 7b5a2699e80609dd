import { createHash } from "node:crypto";
import type { Severity } from "./severity.ts";

/*
 * Errors that differ only in what varies from one occurrence to the next, numbers and ids, belong to one group. Every
 * pattern runs over the text once: none repeats within a repetition, and none can begin inside its own match.
 */

const uuidPattern = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi;
const runPattern = /[A-Za-z0-9]+/g;
// Hex of letters alone is told from a word (`facade`) by nothing, and is rare: one in 2,500 of eight digits.
const hexPattern = /^(?:0x[0-9a-f]+|(?=[a-f]*[0-9])[0-9a-f]{6,})$/i;
// Longer than any word with a digit in it, as long as the shortest random ids.
const shortestId = 16;
const numberPattern = /(?:(?<![\w#+-])[-+]+)?#(?:[.,:][-+]*#)*/g;

/** 16 hex digits that stay the same for one severity and one kind of message. */
export function fingerprint(severity: Severity, message: string): string {
  return createHash("sha256")
    .update(`${severity}\n${maskMessage(message)}`, "utf8")
    .digest("hex")
    .slice(0, 16);
}

/** The message with `#` for numbers, UUIDs, hex and ids: "task_0190ab took 3.5s" is "task_# took #s". */
export function maskMessage(message: string): string {
  return message.replace(uuidPattern, "#").replace(runPattern, maskRun).replace(numberPattern, "#");
}

/** Masks one run of letters and digits: as a whole if it is an id, otherwise only its digits (`gpu3` is `gpu#`). */
function maskRun(run: string): string {
  if (hexPattern.test(run)) return "#";
  if (run.length >= shortestId && /[0-9]/.test(run)) return "#";
  return run.replace(/[0-9]+/g, "#");
}
