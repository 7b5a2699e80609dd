import { type Command, Option } from "commander";
import { newRequestId } from "../api.ts";
import { integerBetween, repeated, repeatedOf, trackerPath } from "../arguments.ts";
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
import { usageFailure } from "../failure.ts";
import { listPages } from "../list-pages.ts";
import { note, printJson, printLine, printPairs } from "../output.ts";
import type { IssueJson, TrackerJson } from "../resources.ts";
import type { Column } from "../table.ts";

const PATH = "/api/v1/trackers";
const states = ["open", "closed"];

export function addTrackers(program: Command): void {
  const group = commandGroup(program, "trackers", "say where issues come from, and see them");
  const list = group
    .command("list", { isDefault: true })
    .description("list trackers, the oldest first (this is what `drover trackers` does)");
  withClientFlags(withListFlags(list)).action(listTrackers);
  withClientFlags(group.command("get").description("show one tracker").argument("<id>")).action(getTracker);
  const create = group
    .command("create")
    .alias("add")
    .description("add a tracker, and print its id")
    .addArgument(program.createArgument("<kind>", "what it is").choices(["github"]))
    .argument("<repository>", "OWNER/REPO")
    .option("--base-url <url>", "the API's address, for GitHub Enterprise https://HOST/api/v3")
    .option("--disabled", "leave it out of passes for now");
  withClientFlags(withRuleFlags(create)).action(createTracker);
  const update = group
    .command("update")
    .description("change what is given of a tracker")
    .argument("<id>")
    .option("--no-rule", "make no tasks any more; those that are not done are cancelled")
    .addOption(new Option("--disabled", "leave it out of passes").conflicts("enabled"))
    .option("--enabled", "take it into passes again");
  withClientFlags(withRuleFlags(update)).action(updateTracker);
  const remove = group.command("delete").description("remove a tracker and its issues").argument("<id>");
  withClientFlags(remove).action(deleteTracker);
  const issues = group
    .command("issues")
    .description("list issues, the newest change first")
    .option("--tracker <id>", "only of this tracker")
    .option(
      "--state <state>",
      `only in this state: ${states.join(", ")}; may be repeated`,
      repeatedOf(states),
    )
    .option("--label <label>", "only with this label; may be repeated", repeated)
    .addOption(new Option("--order-by <order>", "the order").choices(["updated_at", "updated_at desc"]));
  withClientFlags(withListFlags(issues)).action(listIssues);
}

function withRuleFlags(command: Command): Command {
  return command
    .option("--credential <reference>", "where the server finds the credential: env:NAME or file:/path")
    .option("--rule-label <label>", "make a task of each open issue with this label")
    .option("--rule-kind <kind>", "what kind of work it becomes")
    .addOption(
      new Option("--rule-priority <n>", "0 to 9, larger is sooner; 5 when left out").argParser(
        integerBetween(0, 9),
      ),
    );
}

interface RuleFlags {
  credential?: string;
  ruleLabel?: string;
  ruleKind?: string;
  rulePriority?: number;
}

function ruleOf({
  ruleLabel: label,
  ruleKind: taskKind,
  rulePriority: priority,
}: RuleFlags): object | undefined {
  if (label === undefined && taskKind === undefined && priority === undefined) return undefined;
  if (label !== undefined && taskKind !== undefined) return { label, taskKind, priority };
  throw usageFailure("A rule needs both --rule-label and --rule-kind.");
}

async function listTrackers(flags: ClientFlags & ListFlags): Promise<void> {
  const listing = await listPages<TrackerJson>(apiFor(flags), PATH, "trackers", {}, limitOf(flags));
  printListing(flags, listing, columns, "trackers");
}

const columns: readonly Column<TrackerJson>[] = [
  { heading: "ID", text: ({ id }) => orDash(id) },
  { heading: "KIND", text: ({ kind }) => orDash(kind) },
  { heading: "REPOSITORY", text: ({ repository }) => orDash(repository) },
  { heading: "SYNC", text: stateText, tone: ({ syncState }) => toneOf(syncState) },
  { heading: "SYNCED", text: ({ syncedAt }) => instantText(syncedAt) },
  { heading: "RULE", text: ruleText },
  { heading: "DETAIL", text: ({ syncDetail }) => orDash(syncDetail) },
];

function stateText({ disabled, syncState }: TrackerJson): string {
  return disabled === true ? "disabled" : orDash(syncState);
}

function ruleText({ rule }: TrackerJson): string {
  return rule == null ? orDash(undefined) : `${orDash(rule.label)} -> ${orDash(rule.taskKind)}`;
}

async function getTracker(id: string, flags: ClientFlags): Promise<void> {
  const { text, value } = await apiFor(flags).get<TrackerJson>(trackerPath(id));
  if (flags.json === true) printJson(text);
  else printPairs(describe(value));
}

interface CreateFlags extends ClientFlags, RuleFlags {
  baseUrl?: string;
  disabled?: true;
}

async function createTracker(kind: string, repository: string, flags: CreateFlags): Promise<void> {
  const { baseUrl, credential, disabled } = flags;
  const body = {
    kind,
    repository,
    baseUrl,
    credential,
    disabled,
    rule: ruleOf(flags),
    requestId: newRequestId(),
  };
  const { text, value } = await apiFor(flags).post<TrackerJson>(PATH, body);
  if (flags.json === true) {
    printJson(text);
    return;
  }
  note(`The tracker of ${repository} is made; the next pass fetches its issues. This is its id:`);
  printLine(orDash(value.id));
}

interface UpdateFlags extends ClientFlags, RuleFlags {
  /** False by --no-rule, true otherwise. */
  rule: boolean;
  disabled?: true;
  enabled?: true;
}

async function updateTracker(id: string, flags: UpdateFlags): Promise<void> {
  const rule = ruleOf(flags);
  if (rule !== undefined && !flags.rule) throw usageFailure("Give a rule, or --no-rule.");
  const disabled = flags.enabled === true ? false : flags.disabled;
  const change = { credential: flags.credential, rule, noRule: flags.rule ? undefined : true, disabled };
  const body = { ...change, requestId: newRequestId() };
  const { text, value } = await apiFor(flags).patch<TrackerJson>(trackerPath(id), body);
  if (flags.json === true) printJson(text);
  else printPairs(describe(value));
}

async function deleteTracker(id: string, flags: ClientFlags): Promise<void> {
  const { text } = await apiFor(flags).delete(trackerPath(id), { requestId: newRequestId() });
  if (flags.json === true) printJson(text);
  else printLine(`${id} is deleted, with its issues.`);
}

interface IssueFlags extends ClientFlags, ListFlags {
  tracker?: string;
  state?: string[];
  label?: string[];
  orderBy?: string;
}

async function listIssues(flags: IssueFlags): Promise<void> {
  const { tracker, state, label: labels, orderBy } = flags;
  const query = { tracker, state, labels, orderBy };
  const listing = await listPages<IssueJson>(
    apiFor(flags),
    "/api/v1/issues",
    "issues",
    query,
    limitOf(flags),
  );
  printListing(flags, listing, issueColumns, "issues");
}

const issueColumns: readonly Column<IssueJson>[] = [
  { heading: "URL", text: ({ url }) => orDash(url) },
  { heading: "STATE", text: ({ state }) => orDash(state), tone: ({ state }) => toneOf(state) },
  { heading: "UPDATED", text: ({ updatedAt }) => instantText(updatedAt) },
  { heading: "TASK", text: ({ task }) => orDash(task) },
  { heading: "LABELS", text: ({ labels }) => orDash(labels?.join(", ")) },
  { heading: "TITLE", text: ({ title }) => orDash(title) },
];

function describe(tracker: TrackerJson): [string, string][] {
  return [
    ["id", orDash(tracker.id)],
    ["kind", orDash(tracker.kind)],
    ["repository", orDash(tracker.repository)],
    ["address", orDash(tracker.baseUrl)],
    ["credential", orDash(tracker.credential)],
    ["rule", ruleText(tracker)],
    ["sync", stateText(tracker)],
    ["detail", orDash(tracker.syncDetail)],
    ["synced", instantText(tracker.syncedAt)],
    ["rate limited until", instantText(tracker.rateLimitedUntil)],
    ["created", instantText(tracker.createdAt)],
  ];
}
