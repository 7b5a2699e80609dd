import type { Command } from "commander";
import { repeated } from "../arguments.ts";
import { instantText, orDash } from "../cell-text.ts";
import { clauseOf } from "../clause.ts";
import { apiFor, type ClientFlags, withClientFlags } from "../client-command.ts";
import { followEvents } from "../event-stream.ts";
import type { Failure } from "../failure.ts";
import { note, printJson, printLine } from "../output.ts";
import type { EventJson } from "../resources.ts";

interface WatchFlags extends ClientFlags {
  after?: string;
  type?: string[];
  agent?: string[];
  task?: string[];
}

export function addWatch(program: Command): void {
  const command = program
    .command("watch")
    .description("follow what happens, as it happens; goes on by itself after a lost connection")
    .option("--after <cursor>", "begin behind this cursor instead of now")
    .option("--type <type>", "only this type, such as task.failed, or a group: task.*; repeatable", repeated)
    .option("--agent <agent>", "only what concerns this agent, by name or id; may be repeated", repeated)
    .option("--task <task>", "only what concerns this task, by id; may be repeated", repeated);
  withClientFlags(command).action(watch);
}

async function watch(flags: WatchFlags): Promise<void> {
  const { after, type: types, agent: agents, task: tasks } = flags;
  const frames = followEvents(
    apiFor(flags).connection,
    { after, types, agents, tasks },
    {
      timeoutMs: flags.timeout,
      onLost: (failure, base) => note(`${wordsOfLoss(failure, base)} Going on from the last event.`),
    },
  );
  for await (const { text, event } of frames) {
    if (flags.json === true) printJson(text);
    else if (event.type !== "bookmark") printLine(lineOf(event));
  }
}

function wordsOfLoss({ message, origin }: Failure, base: string): string {
  if (origin.kind === "transport" && origin.mayHaveArrived) return `The connection to ${base} was lost.`;
  // What is to be done about it is done here.
  const why = message.replace(/: resume from the last cursor$/, "");
  return origin.kind === "server" ? `The watch at ${base} ended: ${clauseOf(why)}` : message;
}

function lineOf({ time, type, subject, data = {} }: EventJson): string {
  const { agent, kind, from, to, message, reason } = data;
  const change = to === undefined || to === "" ? undefined : `${orDash(text(from))} → ${text(to)}`;
  const parts = [agent, kind, change, message, reason].map(text).filter((part) => part !== "");
  // A subject is its type and a UUID; the name of an agent says more.
  return [instantText(time), (type ?? "").padEnd(22), orDash(subject), ...parts].join("  ");
}

function text(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}
