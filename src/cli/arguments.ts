import { InvalidArgumentError, type Option } from "commander";
import { usageFailure } from "./failure.ts";

/** Gathers the values of an option that may be given again and again. */
export function repeated(value: string, before: string[] = []): string[] {
  return [...before, value];
}

/** Like `repeated`, for values of a fixed set, which `choicesOf` tells. */
export function repeatedOf(choices: readonly string[]): (value: string, before?: string[]) => string[] {
  const parse = (value: string, before?: string[]) => {
    if (!choices.includes(value))
      throw new InvalidArgumentError(`Allowed choices are ${choices.join(", ")}.`);
    return repeated(value, before);
  };
  choicesOfParsers.set(parse, choices);
  return parse;
}

const choicesOfParsers = new WeakMap<object, readonly string[]>();

/** All values that a flag can have; undefined where it is free. */
export function choicesOf({ argChoices, parseArg }: Option): readonly string[] | undefined {
  return argChoices ?? (parseArg === undefined ? undefined : choicesOfParsers.get(parseArg));
}

/** Gathers labels, each given as key=value; the value may hold further equals signs. */
export function repeatedLabel(text: string, before: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("Give a label as key=value.");
  const key = text.slice(0, at);
  if (Object.hasOwn(before, key)) throw new InvalidArgumentError(`The label ${key} is given twice.`);
  // fromEntries makes even `__proto__` a plain key.
  return Object.fromEntries([...Object.entries(before), [key, text.slice(at + 1)]]);
}

/** Labels as a query or an action takes them, and as they are printed: each as key=value. */
export function labelTerms(labels: Record<string, string> = {}): string[] {
  return Object.entries(labels).map(([key, value]) => `${key}=${value}`);
}

/** A whole number of at least 1. */
export function positiveInteger(text: string): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (value < 1) throw new InvalidArgumentError("Give a whole number of at least 1.");
  return value;
}

// As the contract has it. Checked here too for what becomes part of a path, since a URL drops `.` and `..`.
export const RESOURCE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const TOKEN_ID = /^token_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The path of one agent. */
export function agentPath(name: string): string {
  if (RESOURCE_NAME.test(name)) return `/api/v1/agents/${name}`;
  throw usageFailure(
    "The agent's name must be 1 to 128 of the characters A-Z a-z 0-9 . _ - and begin with a letter or digit.",
  );
}

/** The path of one token. */
export function tokenPath(id: string): string {
  if (TOKEN_ID.test(id)) return `/api/v1/tokens/${id}`;
  // The text is not repeated: a person may well have pasted the secret.
  throw usageFailure("A token is named by its id, token_ and a UUID, never by its secret.");
}

const TASK_ID = /^task_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The path of one task. */
export function taskPath(id: string): string {
  if (TASK_ID.test(id)) return `/api/v1/tasks/${id}`;
  throw usageFailure("A task is named by its id: task_ and a UUID.");
}

const RUN_ID = /^run_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The path of one run. */
export function runPath(id: string): string {
  if (RUN_ID.test(id)) return `/api/v1/runs/${id}`;
  throw usageFailure("A run is named by its id: run_ and a UUID.");
}

const TRACKER_ID = /^tracker_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The path of one tracker. */
export function trackerPath(id: string): string {
  if (TRACKER_ID.test(id)) return `/api/v1/trackers/${id}`;
  throw usageFailure("A tracker is named by its id: tracker_ and a UUID.");
}

/** The path of the passes of one agent. */
export function passPath(agentName: string): string {
  return `${agentPath(agentName).replace("/api/v1/", "/api/")}/heartbeat`;
}

/** A whole number from `least` to `most`. */
export function integerBetween(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Give a whole number from ${least} to ${most}.`);
  };
}
