import type { Command } from "commander";
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
import type { AttemptJson } from "../resources.ts";
import type { Column } from "../table.ts";

export function addTaskAttempts(group: Command): void {
  withClientFlags(
    withListFlags(group.command("attempts").description("list the tries of a task").argument("<id>")),
  ).action(listAttempts);
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
