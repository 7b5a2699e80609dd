import type { Command } from "commander";
import { agentPath } from "../arguments.ts";
import { instantText, orDash } from "../cell-text.ts";
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
import type { SessionJson } from "../resources.ts";
import type { Column } from "../table.ts";

export function addAgentSessions(group: Command): void {
  withClientFlags(
    withListFlags(
      group
        .command("sessions")
        .description("list the runs of an agent's process, the newest first")
        .argument("<name>"),
    ),
  ).action(listSessions);
}

async function listSessions(name: string, flags: ClientFlags & ListFlags): Promise<void> {
  const path = `${agentPath(name)}/sessions`;
  const listing = await listPages<SessionJson>(apiFor(flags), path, "sessions", {}, limitOf(flags));
  printListing(flags, listing, columns, "sessions");
}

const columns: readonly Column<SessionJson>[] = [
  { heading: "EPOCH", text: ({ epoch }) => orDash(epoch) },
  { heading: "BEGAN", text: ({ startedAt }) => instantText(startedAt) },
  { heading: "LAST HEARTBEAT", text: ({ lastHeartbeatAt }) => instantText(lastHeartbeatAt) },
  { heading: "TAKEN OVER", text: ({ supersededAt }) => instantText(supersededAt) },
  { heading: "BOOT ID", text: ({ bootId }) => orDash(bootId) },
];
