import { type Command, Option } from "commander";
import { repeatedOf, runPath } from "../arguments.ts";
import { instantText, orDash, toneOf } from "../cell-text.ts";
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
import { listPages } from "../list-pages.ts";
import { printJson, printPairs } from "../output.ts";
import type { RunJson } from "../resources.ts";
import type { Column } from "../table.ts";
import { parseInstant } from "../time-arguments.ts";

const statuses = ["running", "ok", "warning", "error", "interrupted"];
const orders = ["started_at", "started_at desc"];

export function addRuns(program: Command): void {
  const group = commandGroup(program, "runs", "see what heartbeat passes did");
  const list = group
    .command("list", { isDefault: true })
    .description("list runs, the newest first (this is what `drover runs` does)")
    .option("--agent <agent>", "only for this name")
    .option(
      "--status <status>",
      `only with this status; may be repeated: ${statuses.join(", ")}`,
      repeatedOf(statuses),
    )
    .option("--since <time>", "only since then: 1h back from now, or a time", (text: string) =>
      parseInstant(text, Date.now()),
    )
    .addOption(new Option("--order-by <order>", "the order").choices(orders));
  withClientFlags(withListFlags(list)).action(listRuns);
  withClientFlags(group.command("get").description("show one run with its steps").argument("<id>")).action(
    getRun,
  );
}

interface ListRunsFlags extends ClientFlags, ListFlags {
  agent?: string;
  status?: string[];
  since?: string;
  orderBy?: string;
}

async function listRuns(flags: ListRunsFlags): Promise<void> {
  const { agent, status, since, orderBy } = flags;
  const query = { agent, status, since, orderBy };
  const listing = await listPages<RunJson>(apiFor(flags), "/api/v1/runs", "runs", query, limitOf(flags));
  printListing(flags, listing, columns, "runs");
}

const columns: readonly Column<RunJson>[] = [
  { heading: "ID", text: ({ id }) => orDash(id) },
  { heading: "AGENT", text: ({ agentName }) => orDash(agentName) },
  { heading: "STATUS", text: ({ status }) => orDash(status), tone: ({ status }) => toneOf(status) },
  { heading: "STARTED", text: ({ startedAt }) => instantText(startedAt) },
  { heading: "WARNINGS", text: ({ warnings }) => String(warnings?.length ?? 0) },
  { heading: "ERRORS", text: ({ errors }) => String(errors?.length ?? 0) },
  { heading: "SUMMARY", text: ({ summary }) => orDash(summary) },
];

async function getRun(id: string, flags: ClientFlags): Promise<void> {
  const { text, value } = await apiFor(flags).get<RunJson>(runPath(id));
  if (flags.json === true) printJson(text);
  else printPairs(describe(value));
}

function describe(run: RunJson): [string, string][] {
  const { steps = [], warnings = [], errors = [], touchedIssueUrls = [] } = run;
  return [
    ["id", orDash(run.id)],
    ["agent", orDash(run.agentName)],
    ["status", orDash(run.status)],
    ["called by", orDash(run.actor)],
    ["started", instantText(run.startedAt)],
    ["finished", instantText(run.finishedAt)],
    ["summary", orDash(run.summary)],
    ...steps.map(({ name, status, duration, summary }): [string, string] => [
      `step ${orDash(name)}`,
      `${orDash(status)} after ${orDash(duration)}: ${orDash(summary)}`,
    ]),
    ...warnings.map((text): [string, string] => ["warning", text]),
    ...errors.map((text): [string, string] => ["error", text]),
    ...touchedIssueUrls.map((url): [string, string] => ["touched", url]),
  ];
}
