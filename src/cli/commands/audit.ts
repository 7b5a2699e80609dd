import { type Command, Option } from "commander";
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
    .addOption(new Option("--order-by <order>", "the order").choices(["time", "time desc"]));
  withClientFlags(withListFlags(command)).action(listAuditEntries);
}

async function listAuditEntries(flags: AuditFlags): Promise<void> {
  const { subject, actor, action, field, since, until, orderBy } = flags;
  const query = { subject, actor, action, field, since, until, orderBy };
  const listing = await listPages<AuditEntryJson>(
    apiFor(flags),
    "/api/v1/audit",
    "entries",
    query,
    limitOf(flags),
  );
  printListing(flags, listing, columns, "audit entries");
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
