import type { Command } from "commander";
import { newRequestId } from "../api.ts";
import { apiFor, type ClientFlags, withClientFlags } from "../client-command.ts";
import { usageFailure } from "../failure.ts";
import { readTextArgument } from "../json-argument.ts";
import { note, printJson, printLine } from "../output.ts";
import { progressOn } from "../progress.ts";
import type { TaskJson } from "../resources.ts";

/** As many tasks as one call takes, and bytes that leave room for what is around them. */
const MOST_TASKS = 1_000;
const MOST_BYTES = 900_000;

export function addTaskBatch(group: Command): void {
  withClientFlags(
    group
      .command("create-batch")
      .description("hand out a task for each line of JSON, and print their ids")
      .argument("<file>", "a file of JSON objects, one a line, or - for standard input"),
  ).action(createBatch);
}

async function createBatch(file: string, flags: ClientFlags): Promise<void> {
  const text = await readTextArgument(file === "-" ? file : `@${file}`, "<file>");
  const lines = text
    .split("\n")
    .flatMap((line, index) => (line.trim() === "" ? [] : [readLine(line, index + 1)]));
  if (lines.length === 0)
    throw usageFailure(`${file} holds no tasks: give a JSON object a line, such as {"kind":"hash"}.`);
  const api = apiFor(flags);
  const progress = progressOn(process.stderr, process.env);
  let created = 0;
  for (const requests of batchesOf(lines)) {
    const body = { requests, requestId: newRequestId() };
    if (created > 0) progress.say(`${created} of ${lines.length} tasks`);
    const { text: answer, value } = await api.post<{ tasks?: TaskJson[] }>("/api/v1/tasks:batchCreate", body);
    progress.clear();
    if (flags.json === true) printJson(answer);
    else for (const { id } of value.tasks ?? []) printLine(id ?? "");
    created += value.tasks?.length ?? 0;
  }
  if (flags.json !== true) note(`${created} tasks were handed out.`);
}

function readLine(line: string, number: number): object {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw usageFailure(`Line ${number} is no JSON.`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw usageFailure(`Line ${number} is no JSON object.`);
  return value;
}

/** Parts that one call takes each. What a part holds is created whole or not at all. */
function* batchesOf(lines: readonly object[]): Generator<object[]> {
  let batch: object[] = [];
  let bytes = 0;
  for (const line of lines) {
    const size = Buffer.byteLength(JSON.stringify(line)) + 1;
    if (batch.length === MOST_TASKS || (batch.length > 0 && bytes + size > MOST_BYTES)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(line);
    bytes += size;
  }
  yield batch;
}
