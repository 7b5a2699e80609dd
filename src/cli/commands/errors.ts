import type { Command } from "commander";
import { repeatedOf } from "../arguments.ts";
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
import type { ErrorGroupJson, ErrorJson } from "../resources.ts";
import type { Column } from "../table.ts";
import { parseInstant } from "../time-arguments.ts";

const severities = ["info", "warning", "minor", "major", "critical", "fatal"];

interface ErrorsFlags extends ClientFlags, ListFlags {
  agent?: string;
  severity?: string[];
  since?: string;
}

export function addErrors(program: Command): void {
  const group = commandGroup(program, "errors", "see what went wrong");
  const list = group
    .command("list", { isDefault: true })
    .description("list errors, the newest first (this is what `drover errors` does)")
    .option("--fingerprint <fingerprint>", "only errors of this group");
  withErrorFlags(list).action(listErrors);
  withErrorFlags(group.command("groups").description("list errors by fingerprint, the newest first")).action(
    listErrorGroups,
  );
}

function withErrorFlags(command: Command): Command {
  command
    .option("--agent <agent>", "only of this agent: its name, or its id if it was removed")
    .option(
      "--severity <severity>",
      `only of this severity; may be repeated: ${severities.join(", ")}`,
      repeatedOf(severities),
    )
    .option("--since <time>", "only since then: 1h back from now, or a time", (text) =>
      parseInstant(text, Date.now()),
    );
  return withClientFlags(withListFlags(command));
}

async function listErrors(flags: ErrorsFlags & { fingerprint?: string }): Promise<void> {
  const { agent, severity, since, fingerprint } = flags;
  const query = { agent, severity, since, fingerprint };
  const listing = await listPages<ErrorJson>(
    apiFor(flags),
    "/api/v1/errors",
    "errors",
    query,
    limitOf(flags),
  );
  printListing(flags, listing, errorColumns, "errors");
}

async function listErrorGroups(flags: ErrorsFlags): Promise<void> {
  const { agent, severity, since } = flags;
  const query = { agent, severity, since };
  const path = "/api/v1/errors:groups";
  const listing = await listPages<ErrorGroupJson>(apiFor(flags), path, "errorGroups", query, limitOf(flags));
  printListing(flags, listing, groupColumns, "errors");
}

const errorColumns: readonly Column<ErrorJson>[] = [
  { heading: "TIME", text: ({ createdAt }) => instantText(createdAt) },
  { heading: "AGENT", text: ({ agent }) => orDash(agent) },
  { heading: "SEVERITY", text: ({ severity }) => orDash(severity), tone: ({ severity }) => toneOf(severity) },
  { heading: "COUNT", text: ({ occurrences }) => orDash(occurrences) },
  { heading: "FINGERPRINT", text: ({ fingerprint }) => orDash(fingerprint) },
  { heading: "MESSAGE", text: ({ message }) => orDash(message) },
];

const groupColumns: readonly Column<ErrorGroupJson>[] = [
  { heading: "LAST SEEN", text: ({ lastSeenAt }) => instantText(lastSeenAt) },
  { heading: "SEVERITY", text: ({ severity }) => orDash(severity), tone: ({ severity }) => toneOf(severity) },
  { heading: "COUNT", text: ({ count }) => orDash(count) },
  { heading: "AGENTS", text: ({ agentCount }) => orDash(agentCount) },
  { heading: "FINGERPRINT", text: ({ fingerprint }) => orDash(fingerprint) },
  { heading: "MESSAGE", text: ({ message }) => orDash(message) },
];
