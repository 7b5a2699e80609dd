import { type Command, Option } from "commander";
import type { Query } from "../api.ts";
import { repeated } from "../arguments.ts";
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
import { printJson } from "../output.ts";
import type { AuditEntryJson } from "../resources.ts";
import type { Column } from "../table.ts";
import { parseInstant } from "../time-arguments.ts";

interface AuditFlags extends ClientFlags, ListFlags {
  subject?: string;
  actor?: string;
  action?: string[];
  field?: string;
  since?: string;
  until?: string;
  orderBy?: string;
  export?: true;
}

export function addAudit(program: Command): void {
  const instant = (text: string): string => parseInstant(text, Date.now());
  const command = program
    .command("audit")
    .description("see who or what changed what, the newest first")
    .option("--subject <subject>", "only on this: an id, or the name of an agent")
    .option("--actor <actor>", "only by this actor: agent:NAME, token:ID or server")
    .option("--action <action>", "only this action, such as agent.status_changed; may be repeated", repeated)
    .option("--field <field>", "only on this field, such as status")
    .option("--since <time>", "only since then: 1h back from now, or a time", instant)
    .option("--until <time>", "only before then: 1h back from now, or a time", instant)
    .addOption(
      new Option("--export", "print all of them, the oldest first, each as a line of JSON").conflicts([
        "orderBy",
        "limit",
      ]),
    )
    .addOption(new Option("--order-by <order>", "the order").choices(["time", "time desc"]));
  withClientFlags(withListFlags(command)).action(listAuditEntries);
}

async function listAuditEntries(flags: AuditFlags): Promise<void> {
  const { subject, actor, action, field, since, until, orderBy } = flags;
  const query = { subject, actor, action, field, since, until, orderBy };
  if (flags.export === true) {
    await exportEntries(flags, { ...query, orderBy: "time" });
    return;
  }
  const listing = await listPages<AuditEntryJson>(
    apiFor(flags),
    "/api/v1/audit",
    "entries",
    query,
    limitOf(flags),
  );
  printListing(flags, listing, columns, "audit entries");
}

/** Page by page, so that memory does not grow with the log, and a page whose connection broke is asked for again. */
async function exportEntries(flags: AuditFlags, query: Query): Promise<void> {
  const api = apiFor(flags);
  let pageToken: string | undefined;
  do {
    const { value } = await api.get<{ entries?: AuditEntryJson[]; nextPageToken?: string }>("/api/v1/audit", {
      ...query,
      pageSize: 1000,
      pageToken,
    });
    for (const entry of value.entries ?? []) printJson(JSON.stringify(entry));
    pageToken = value.nextPageToken || undefined;
  } while (pageToken !== undefined);
}

const columns: readonly Column<AuditEntryJson>[] = [
  { heading: "TIME", text: ({ time }) => instantText(time) },
  { heading: "ACTOR", text: ({ actor }) => orDash(actor) },
  { heading: "ACTION", text: ({ action }) => orDash(action) },
  { heading: "SUBJECT", text: ({ subject }) => orDash(subject) },
  { heading: "CHANGE", text: changeText },
  { heading: "REASON", text: ({ reason }) => orDash(reason) },
];

function changeText({ field, from, to }: AuditEntryJson): string {
  return field === undefined || field === ""
    ? orDash(undefined)
    : `${field}: ${orDash(from)} → ${orDash(to)}`;
}
