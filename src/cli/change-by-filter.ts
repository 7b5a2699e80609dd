import { type Api, newRequestId, type Query } from "./api.ts";
import { agree, requireTerminal } from "./confirm.ts";
import { usageFailure } from "./failure.ts";
import { listPages } from "./list-pages.ts";
import { note, printJson, printLine } from "./output.ts";
import { progressOn } from "./progress.ts";

/** Counting goes by the list's pages; a person who is about to change more than this knows enough. */
const MOST_COUNTED = 10_000;
/** Calls in a row that change nothing although there is more: what they found changed meanwhile. */
const MOST_VAIN_CALLS = 3;

/** A change of everything that a filter finds, in calls of up to a thousand. */
export interface FilteredChange<Item> {
  /** Of what there may be many in the answer, such as `tasks`, and of one. */
  readonly plural: string;
  readonly singular: string;
  /** Where they are listed, and the query that finds those that the change is for. */
  readonly list: string;
  readonly query: Query;
  /** The call, and what it is told besides its request_id. */
  readonly path: string;
  readonly body: object;
  /** What is done, as a question begins: "Cancel". */
  readonly verb: string;
  /** What one of the changed is afterwards, such as "cancelled". */
  stateOf(item: Item): string;
}

/** Asks whether that many are meant, changes them, and tells what they are afterwards. */
export async function changeByFilter<Item>(
  api: Api,
  flags: { yes?: true; json?: true },
  change: FilteredChange<Item>,
): Promise<void> {
  let total: string | undefined;
  if (flags.yes !== true) {
    requireTerminal("A filter may find many,");
    total = await countFound(api, change);
    // Where nothing is found there is nothing to agree to; the call says so, in JSON too.
    if (total !== undefined)
      await agree(`${change.verb} ${total} at ${api.connection.url}?`, "Nothing was changed.");
  }
  const changed = new Map<string, number>();
  try {
    await changeAll(api, flags, change, total, changed);
  } catch (error) {
    // What the calls before it did, they did.
    if (changed.size > 0 && flags.json !== true) note(tellChanged(change, changed));
    throw error;
  }
  if (flags.json !== true) printLine(tellChanged(change, changed));
}

async function changeAll<Item>(
  api: Api,
  flags: { json?: true },
  change: FilteredChange<Item>,
  total: string | undefined,
  changed: Map<string, number>,
): Promise<void> {
  const { plural, path, body, stateOf } = change;
  const progress = progressOn(process.stderr, process.env);
  let done = 0;
  let vain = 0;
  for (let more = true; more && vain < MOST_VAIN_CALLS; ) {
    if (done > 0) progress.say(total === undefined ? `${done} ${plural} so far` : `${done} of ${total}`);
    // A call of its own each: a repeat under one id would be answered with what the first one did.
    const answer = api.post<{ more?: boolean; [plural: string]: Item[] | boolean | undefined }>(path, {
      ...body,
      requestId: newRequestId(),
    });
    const { text, value } = await answer.finally(() => progress.clear());
    if (flags.json === true) printJson(text);
    const found = value[plural];
    const items = Array.isArray(found) ? found : [];
    for (const item of items) changed.set(stateOf(item), (changed.get(stateOf(item)) ?? 0) + 1);
    done += items.length;
    vain = items.length === 0 ? vain + 1 : 0;
    more = value.more === true;
  }
  if (vain === MOST_VAIN_CALLS)
    note(`Some ${plural} were left as they are: they changed just now. Try again.`);
}

/** Such as "1 task" or "more than 10000 tasks"; undefined where there are none. */
async function countFound<Item>(
  api: Api,
  { list, query, plural, singular }: FilteredChange<Item>,
): Promise<string | undefined> {
  const { items, more } = await listPages(api, list, plural, query, MOST_COUNTED);
  if (items.length === 0) return undefined;
  if (more) return `more than ${items.length} ${plural}`;
  return items.length === 1 ? `1 ${singular}` : `${items.length} ${plural}`;
}

function tellChanged<Item>(
  { plural, singular }: FilteredChange<Item>,
  changed: ReadonlyMap<string, number>,
): string {
  if (changed.size === 0) return `No ${plural} are found.`;
  return [...changed]
    .map(([state, count]) =>
      count === 1 ? `1 ${singular} is ${state}.` : `${count} ${plural} are ${state}.`,
    )
    .join(" ");
}

/**
 * Whether the command is about the one that it names or about those that the filter finds. Refuses both, and neither:
 * `flags` are those of the filter, `how` names the one in words.
 */
export function isByFilter(named: string | undefined, flags: readonly unknown[], how: string): boolean {
  const filtered = flags.some((flag) => flag !== undefined);
  if (named !== undefined && filtered) throw usageFailure(`Give ${how} or a filter, not both.`);
  if (named === undefined && !filtered)
    throw usageFailure(`Give ${how}, or a filter of those that are meant; --all says that all are.`);
  return filtered;
}
