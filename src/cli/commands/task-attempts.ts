import type { Command } from "commander";
import { newRequestId } from "../api.ts";
import { taskPath } from "../arguments.ts";
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
import { listPages } from "../list-pages.ts";
import { printJson, printLine } from "../output.ts";
import type { AttemptJson, TaskJson } from "../resources.ts";
import type { Column } from "../table.ts";

export function addTaskAttempts(group: Command): void {
  withClientFlags(
    group
      .command("retry")
      .description("try a task anew that failed, was cancelled or set aside")
      .argument("<id>")
      .option("--reason <words>", "why; kept in the audit log"),
  ).action(retryTask);
  withClientFlags(
    withListFlags(group.command("attempts").description("list the tries of a task").argument("<id>")),
  ).action(listAttempts);
}

async function retryTask(id: string, flags: ClientFlags & { reason?: string }): Promise<void> {
  const body = { reason: flags.reason, requestId: newRequestId() };
  const { text, value } = await apiFor(flags).post<TaskJson>(`${taskPath(id)}:retry`, body);
  if (flags.json === true) printJson(text);
  else printLine(`${value.id ?? id} is ${orDash(value.state)}.`);
}

async function listAttempts(id: string, flags: ClientFlags & ListFlags): Promise<void> {
  const path = `${taskPath(id)}/attempts`;
  const listing = await listPages<AttemptJson>(apiFor(flags), path, "attempts", {}, limitOf(flags));
  printListing(flags, listing, columns, "attempts");
}

const columns: readonly Column<AttemptJson>[] = [
  { heading: "NUMBER", text: ({ number }) => orDash(number) },
  { heading: "EPOCH", text: ({ leaseEpoch }) => orDash(leaseEpoch) },
  { heading: "AGENT", text: ({ agent }) => orDash(agent) },
  { heading: "STARTED", text: ({ startedAt }) => instantText(startedAt) },
  { heading: "ENDED", text: ({ endedAt }) => instantText(endedAt) },
  { heading: "OUTCOME", text: ({ outcome }) => orDash(outcome), tone: ({ outcome }) => toneOf(outcome) },
  { heading: "ERROR", text: ({ error }) => orDash(error?.message) },
];
