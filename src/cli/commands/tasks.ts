import { type Command, Option } from "commander";
import { newRequestId } from "../api.ts";
import { integerBetween, labelTerms, repeated, repeatedLabel, repeatedOf, taskPath } from "../arguments.ts";
import { instantText, orDash, pairsText, toneOf } from "../cell-text.ts";
import {
  apiFor,
  type ClientFlags,
  type ListFlags,
  limitOf,
  printListing,
  withClientFlags,
  withListFlags,
} from "../client-command.ts";
import { commandGroup } from "../command-group.ts";
import { readJsonArgument } from "../json-argument.ts";
import { listPages } from "../list-pages.ts";
import { note, printJson, printLine, printPairs } from "../output.ts";
import type { TaskJson } from "../resources.ts";
import type { Column } from "../table.ts";
import { parseDurationMs, parseMoment, protoDuration } from "../time-arguments.ts";
import { addTaskAttempts } from "./task-attempts.ts";
import { addTaskBatch } from "./task-batch.ts";
import { addTaskChanges } from "./task-changes.ts";
import { type TaskFilterFlags, taskFilterOf, withTaskFilter } from "./task-filter.ts";

const states = ["pending", "leased", "running", "succeeded", "failed", "cancelled", "quarantined"];
const orders = ["created_at", "created_at desc"];

export function addTasks(program: Command): void {
  const group = commandGroup(program, "tasks", "hand out work and see what became of it");
  const list = group
    .command("list", { isDefault: true })
    .description("list tasks, the newest first (this is what `drover tasks` does)")
    .option(
      "--state <state>",
      `only in this state; may be repeated: ${states.join(", ")}`,
      repeatedOf(states),
    );
  withTaskFilter(list).addOption(new Option("--order-by <order>", "the order").choices(orders));
  withClientFlags(withListFlags(list)).action(listTasks);
  withClientFlags(group.command("get").description("show one task").argument("<id>")).action(getTask);
  withClientFlags(
    withTaskFlags(group.command("create").description("hand out a task, and print its id")),
  ).action(createTask);
  addTaskChanges(group);
  addTaskBatch(group);
  addTaskAttempts(group);
}

function withTaskFlags(command: Command): Command {
  return command
    .requiredOption("--kind <kind>", "what kind of work it is; agents claim by kind")
    .option("--payload <json>", "what the agent needs to know: JSON, @file, or - for standard input")
    .addOption(
      new Option("--priority <n>", "0 to 9, larger is sooner; 5 when left out").argParser(
        integerBetween(0, 9),
      ),
    )
    .addOption(
      new Option("--max-retries <n>", "how often a failed try is repeated; 3 when left out").argParser(
        integerBetween(0, 1000),
      ),
    )
    .addOption(
      new Option(
        "--attempt-timeout <duration>",
        "longest time for one attempt; no limit when left out",
      ).argParser(parseDurationMs),
    )
    .option("--not-before <time>", "no agent gets it before: 10m from now on, or a time", (text: string) =>
      parseMoment(text, Date.now()),
    )
    .option("--require <capability>", "what its agent must be able to do; may be repeated", repeated)
    .option(
      "--require-label <key=value>",
      "a label that its agent must carry; may be repeated",
      repeatedLabel,
    )
    .option("--label <key=value>", "a label; may be repeated", repeatedLabel);
}

interface ListTasksFlags extends ClientFlags, ListFlags, TaskFilterFlags {
  state?: string[];
  orderBy?: string;
}

async function listTasks(flags: ListTasksFlags): Promise<void> {
  const query = { ...taskFilterOf(flags), state: flags.state, orderBy: flags.orderBy };
  const listing = await listPages<TaskJson>(apiFor(flags), "/api/v1/tasks", "tasks", query, limitOf(flags));
  printListing(flags, listing, columns, "tasks");
}

const columns: readonly Column<TaskJson>[] = [
  { heading: "ID", text: ({ id }) => orDash(id) },
  { heading: "KIND", text: ({ kind }) => orDash(kind) },
  { heading: "STATE", text: ({ state }) => orDash(state), tone: ({ state }) => toneOf(state) },
  { heading: "PRIO", text: ({ priority }) => orDash(priority) },
  { heading: "ATTEMPT", text: ({ attempt }) => orDash(attempt) },
  { heading: "AGENT", text: ({ agent }) => orDash(agent) },
  { heading: "CREATED", text: ({ createdAt }) => instantText(createdAt) },
  { heading: "PROGRESS", text: progressText },
];

async function getTask(id: string, flags: ClientFlags): Promise<void> {
  const { text, value } = await apiFor(flags).get<TaskJson>(taskPath(id));
  if (flags.json === true) printJson(text);
  else printPairs(describe(value));
}

interface CreateTaskFlags extends ClientFlags {
  kind: string;
  payload?: string;
  priority?: number;
  maxRetries?: number;
  attemptTimeout?: number;
  notBefore?: string;
  require?: string[];
  requireLabel?: Record<string, string>;
  label?: Record<string, string>;
}

async function createTask(flags: CreateTaskFlags): Promise<void> {
  const payload =
    flags.payload === undefined ? undefined : await readJsonArgument(flags.payload, "--payload");
  const { text, value } = await apiFor(flags).post<TaskJson>("/api/v1/tasks", {
    kind: flags.kind,
    payload,
    priority: flags.priority,
    maxRetries: flags.maxRetries,
    timeout: flags.attemptTimeout === undefined ? undefined : protoDuration(flags.attemptTimeout),
    labels: flags.label,
    notBefore: flags.notBefore,
    requiredCapabilities: flags.require,
    requiredLabels: flags.requireLabel,
    requestId: newRequestId(),
  });
  if (flags.json === true) {
    printJson(text);
    return;
  }
  note(`The task of kind ${flags.kind} is ${orDash(value.state)}. This is its id:`);
  printLine(orDash(value.id));
}

function describe(task: TaskJson): [string, string][] {
  const { lease, error } = task;
  const stale = task.staleResults ?? [];
  return [
    ["id", orDash(task.id)],
    ["kind", orDash(task.kind)],
    ["state", orDash(task.state)],
    ["priority", orDash(task.priority)],
    ["attempt", orDash(task.attempt)],
    ["retries", `${task.retries ?? 0} of ${task.maxRetries ?? 0}; ${task.losses ?? 0} losses`],
    ["agent", orDash(task.agent)],
    [
      "lease",
      lease == null ? orDash(undefined) : `epoch ${orDash(lease.epoch)}, ${orDash(lease.remaining)} left`,
    ],
    ["progress", progressText(task)],
    ["timeout", orDash(task.timeout)],
    ["labels", pairsText(task.labels)],
    [
      "requires",
      orDash(
        [...(task.requiredCapabilities ?? []), ...labelTerms(task.requiredLabels)].join(", ") || undefined,
      ),
    ],
    ["not before", instantText(task.notBefore)],
    ["checkpoint", jsonText(task.checkpoint)],
    ["payload", jsonText(task.payload)],
    ["result", jsonText(task.result)],
    ["error", error == null ? orDash(undefined) : orDash(error.message)],
    ["created", instantText(task.createdAt)],
    ["next attempt", instantText(task.nextAttemptAt)],
    ["started", instantText(task.startedAt)],
    ["finished", instantText(task.finishedAt)],
    ["stale results", stale.length === 0 ? orDash(undefined) : stale.map(staleText).join("; ")],
  ];
}

function progressText({ progress, detail }: TaskJson): string {
  return [`${Math.floor((progress ?? 0) * 100)} %`, detail ?? ""].join(" ").trim();
}

function jsonText(value: unknown): string {
  return value === undefined ? orDash(undefined) : JSON.stringify(value);
}

function staleText({ agent, leaseEpoch, kind, time }: NonNullable<TaskJson["staleResults"]>[number]): string {
  return `${orDash(kind)} by ${orDash(agent)} under epoch ${orDash(leaseEpoch)} at ${instantText(time)}`;
}
