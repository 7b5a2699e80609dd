import { type Command, Option } from "commander";
import { type Api, openApi } from "./api.ts";
import { positiveInteger, repeated } from "./arguments.ts";
import { type Connection, isLoopback, resolveConnection } from "./credentials.ts";
import type { Listing } from "./list-pages.ts";
import { note, printJson, printTable } from "./output.ts";
import type { Column } from "./table.ts";
import { parseTimeoutMs } from "./time-arguments.ts";
import type { TlsFlags } from "./tls-options.ts";

/** Flags of every command that talks to a server. */
export interface ClientFlags extends TlsFlags {
  json?: true;
  url?: string[];
  token?: string;
  project?: string;
  timeout: number;
}

export interface ListFlags {
  limit: number;
  all?: true;
}

/** `timeout` is the default of --timeout, in ms and in words. */
export function withClientFlags(
  command: Command,
  timeout: readonly [ms: number, words: string] = [30_000, "30s"],
): Command {
  return command
    .option("--json", "print the answer's JSON as the server sent it; errors as JSON too")
    .option(
      "--url <url>",
      "the server (DROVER_URL; default http://127.0.0.1:8080); several with commas, or repeated",
      repeated,
    )
    .option("--token <token>", "the token (DROVER_TOKEN; default: operator.token in DROVER_DATA_DIR)")
    .option("--ca <file>", "roots to trust for an https server, PEM (DROVER_CA)")
    .option("--client-cert <file>", "a certificate to show to the server, PEM (DROVER_CLIENT_CERT)")
    .option("--client-key <file>", "that certificate's key, PEM (DROVER_CLIENT_KEY)")
    .option("--project <name>", "the project, for the server's own operator token (DROVER_PROJECT)")
    .addOption(
      new Option("--timeout <duration>", "how long one call may take, retries included")
        .argParser(parseTimeoutMs)
        .default(...timeout),
    );
}

export function withListFlags(command: Command): Command {
  return command
    .addOption(new Option("--limit <n>", "at most this many").argParser(positiveInteger).default(100))
    .addOption(new Option("--all", "all there are").conflicts("limit"));
}

/** How many items the flags ask for; without end for `--all`. */
export function limitOf({ limit, all }: ListFlags): number {
  return all === true ? Number.POSITIVE_INFINITY : limit;
}

/** The API, with the credentials that flags and environment name; `withheld` keeps the operator's token out of it. */
export function apiFor(flags: ClientFlags, operatorToken: "offered" | "withheld" = "offered"): Api {
  const connection = resolveConnection(flags, process.env, operatorToken);
  warnOfCleartext(connection);
  return openApi(connection, flags.timeout);
}

function warnOfCleartext({ url, others = [], token }: Connection): void {
  if (token === undefined) return;
  for (const one of [url, ...others]) {
    const { protocol, hostname } = new URL(one);
    if (protocol === "https:" || isLoopback(hostname)) continue;
    note(`The token goes to ${hostname} without TLS: whoever listens on the way can read it. Prefer https.`);
  }
}

/** Prints a list as its JSON or as a table; `noun` is its plural in words. */
export function printListing<Item>(
  flags: ClientFlags,
  listing: Listing<Item>,
  columns: readonly Column<Item>[],
  noun: string,
): void {
  if (flags.json === true) {
    printJson(listing.text);
    return;
  }
  if (listing.items.length === 0) note(`No ${noun}.`);
  else printTable(columns, listing.items);
  if (listing.more) note(`There are more ${noun}: ask for them with --limit or --all.`);
}
