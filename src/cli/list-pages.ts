import type { Answer, Api, Query } from "./api.ts";
import { Failure } from "./failure.ts";
import { progressOn } from "./progress.ts";

// The server's own cap on page_size.
const LARGEST_PAGE = 1000;

/** What came of a list: one JSON in the shape of a single page, its items, and whether more exist. */
export interface Listing<Item> {
  text: string;
  items: Item[];
  more: boolean;
}

/** Asks for pages until `limit` items came or the list ended; `plural` is the name of the items in the answer. */
export async function listPages<Item>(
  api: Api,
  path: string,
  plural: string,
  query: Query,
  limit: number,
): Promise<Listing<Item>> {
  const pages: Answer<Page<Item>>[] = [];
  const items: Item[] = [];
  const seen = new Set<string>();
  const progress = progressOn(process.stderr, process.env);
  let pageToken: string | undefined;
  do {
    if (items.length > 0) progress.say(`${items.length} ${plural} so far`);
    const pageSize = Math.min(limit - items.length, LARGEST_PAGE);
    const page = await api.get<Page<Item>>(path, { ...query, pageSize, pageToken });
    pages.push(page);
    for (const item of itemsOf(page.value, plural)) items.push(item);
    pageToken = page.value.nextPageToken || undefined;
    if (pageToken !== undefined && seen.has(pageToken)) throw circle(path);
    if (pageToken !== undefined) seen.add(pageToken);
  } while (pageToken !== undefined && items.length < limit);
  progress.clear();
  const [only] = pages;
  // One page is printed as it came; several become one of the same shape.
  const text =
    only !== undefined && pages.length === 1
      ? only.text
      : JSON.stringify({ [plural]: items, nextPageToken: pageToken ?? "" });
  return { text, items, more: pageToken !== undefined };
}

interface Page<Item> {
  nextPageToken?: string;
  [plural: string]: Item[] | string | undefined;
}

function itemsOf<Item>(page: Page<Item>, plural: string): Item[] {
  const items = page[plural];
  return Array.isArray(items) ? items : [];
}

function circle(path: string): Failure {
  return new Failure("INTERNAL", `The server's pages of ${path} lead in a circle.`, { kind: "local" });
}
