import { createHash } from "node:crypto";
import { invalidField } from "../runtime/refusal.ts";
import { countThatFit } from "./page-size.ts";

const DEFAULT_PAGE_SIZE = 100;

/** A page cut off a list, and the token that asks for the one after it; empty on the last page. */
export interface Page<Row> {
  rows: Row[];
  nextPageToken: string;
}

/** What a list is sorted by. A token's values are checked against it, for the database casts them. */
export type SortKey = "instant" | "integer" | "name" | "text" | "uuid";

const sortKeyPatterns = {
  instant: /^(?:-infinity|\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}(?:\.\d{1,6})?\+\d{2})$/,
  integer: /^\d{1,18}$/,
  name: /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/,
  text: /^[0-9a-z]{1,64}$/,
  uuid: /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/,
} satisfies Record<SortKey, RegExp>;

/** Where a page begins: behind the row whose sort values these are. */
export interface PageRequest {
  size: number;
  /** Sort values of the last row of the page before, as text; undefined for the first page. */
  after: string[] | undefined;
  /** Ties a token to the filter and the order it was made for. */
  scope: string;
}

/**
 * Reads page_size and page_token. A token holds the place behind the last row, not a number of rows, so that rows
 * which come or go meanwhile are neither repeated nor skipped. `query` is the rest of the request: a token that was
 * made for another one is refused.
 */
export function readPageRequest(
  pageSize: number,
  pageToken: string,
  sort: SortKey[],
  query: unknown,
): PageRequest {
  const scope = createHash("sha256")
    .update(JSON.stringify(query, printBigint))
    .digest("base64url")
    .slice(0, 12);
  const size = pageSize === 0 ? DEFAULT_PAGE_SIZE : pageSize;
  if (pageToken === "") return { size, after: undefined, scope };
  const after = decodeToken(pageToken, scope, sort);
  if (after === undefined) throw invalidField("page_token", "is not the next_page_token of the same list");
  return { size, after, scope };
}

/**
 * Cuts the page off rows of which one more than the page's size was asked for. It ends sooner where the rows would be
 * too much for one answer; `sizeOf` is the bytes of a row in it.
 */
export function cutPage<Row>(
  rows: Row[],
  request: PageRequest,
  sortValues: (row: Row) => string[],
  sizeOf: (row: Row) => number,
): Page<Row> {
  const candidates = rows.slice(0, request.size);
  const page = candidates.slice(0, countThatFit(candidates, sizeOf));
  const last = page.at(-1);
  if (rows.length === page.length || last === undefined) return { rows: page, nextPageToken: "" };
  const token = Buffer.from(JSON.stringify([request.scope, ...sortValues(last)])).toString("base64url");
  return { rows: page, nextPageToken: token };
}

function decodeToken(token: string, scope: string, sort: SortKey[]): string[] | undefined {
  const parts = parseJson(Buffer.from(token, "base64url").toString());
  if (!Array.isArray(parts) || parts.length !== sort.length + 1 || parts[0] !== scope) return undefined;
  const values: string[] = [];
  for (const [position, key] of sort.entries()) {
    const value: unknown = parts[position + 1];
    if (typeof value !== "string" || !sortKeyPatterns[key].test(value)) return undefined;
    values.push(value);
  }
  return values;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function printBigint(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}
