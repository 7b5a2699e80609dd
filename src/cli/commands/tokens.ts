import { type Command, Option } from "commander";
import { newRequestId } from "../api.ts";
import { positiveInteger, repeatedLabel, repeatedOf, tokenPath } from "../arguments.ts";
import { instantText, orDash, pairsText } from "../cell-text.ts";
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
import { Failure } from "../failure.ts";
import { listPages } from "../list-pages.ts";
import { note, printJson, printLine, printPairs } from "../output.ts";
import type { TokenJson } from "../resources.ts";
import { isStorageSetting, serverCommand } from "../server-command.ts";
import type { Column } from "../table.ts";
import { parseDurationMs, protoDuration } from "../time-arguments.ts";

const mintable = ["enrollment", "operator", "viewer", "runner"];
const roles = ["agent", ...mintable];

export function addTokens(program: Command): void {
  const group = commandGroup(program, "tokens", "look after credentials");
  const list = group
    .command("list", { isDefault: true })
    .description("list tokens, the newest first (this is what `drover tokens` does)")
    .option("--role <role>", `only with this role; may be repeated: ${roles.join(", ")}`, repeatedOf(roles))
    .option("--agent <name>", "only tokens of this agent");
  withClientFlags(withListFlags(list)).action(listTokens);
  const create = group
    .command("create")
    .description("make a token and print its secret, this once")
    .addOption(new Option("--role <role>", "what it may do").choices(mintable).makeOptionMandatory())
    .option(
      "--ttl <duration>",
      "how long it lives; left out: 1h for enrollment, no end for others",
      parseDurationMs,
    )
    .option("--max-uses <n>", "how many agents an enrollment token may enroll; left out: 1", positiveInteger)
    .option(
      "--label <key=value>",
      "a label; an enrollment token hands it to its agents; may be repeated",
      repeatedLabel,
    );
  withClientFlags(create).action(createToken);
  withClientFlags(group.command("get").description("show one token").argument("<id>")).action(getToken);
  withClientFlags(group.command("revoke").description("revoke a token for good").argument("<id>")).action(
    revokeToken,
  );
  addRecover(group.command("recover"));
}

function addRecover(command: Command): void {
  serverCommand(command, {
    name: "drover tokens recover",
    description: "on the server's machine: write a new operator token to the data directory",
    takes: isStorageSetting,
    flags: (full) => full.option("--json", "print the file's path as JSON"),
    run: async (entry, values, full) => {
      const { path } = await entry.recoverOperatorToken(values);
      if (full.opts<{ json?: true }>().json === true) printJson(JSON.stringify({ path }));
      else printLine(`A new operator token is in ${path}.`);
    },
  });
}

async function listTokens(
  flags: ClientFlags & ListFlags & { role?: string[]; agent?: string },
): Promise<void> {
  const query = { role: flags.role, agent: flags.agent };
  const listing = await listPages<TokenJson>(
    apiFor(flags),
    "/api/v1/tokens",
    "tokens",
    query,
    limitOf(flags),
  );
  printListing(flags, listing, columns, "tokens");
}

interface CreateFlags extends ClientFlags {
  role: string;
  ttl?: number;
  maxUses?: number;
  label?: Record<string, string>;
}

async function createToken(flags: CreateFlags): Promise<void> {
  const { text, value } = await apiFor(flags).post<{ token?: TokenJson; secret?: string }>("/api/v1/tokens", {
    role: flags.role,
    ttl: flags.ttl === undefined ? undefined : protoDuration(flags.ttl),
    maxUses: flags.maxUses,
    labels: flags.label,
    requestId: newRequestId(),
  });
  const { token, secret } = value;
  if (secret === undefined) throw new Failure("INTERNAL", "The answer holds no token.", { kind: "local" });
  if (flags.json === true) {
    printJson(text);
    return;
  }
  const end =
    token?.expiresAt == null ? "It does not expire." : `It ends at ${instantText(token.expiresAt)}.`;
  note(
    `${orDash(token?.id)} has the role ${orDash(token?.role)}. ${end} This is its secret, shown this once:`,
  );
  printLine(secret);
}

async function getToken(id: string, flags: ClientFlags): Promise<void> {
  const { text, value } = await apiFor(flags).get<TokenJson>(tokenPath(id));
  if (flags.json === true) printJson(text);
  else printPairs(describe(value));
}

async function revokeToken(id: string, flags: ClientFlags): Promise<void> {
  const { text } = await apiFor(flags).delete<object>(tokenPath(id), { requestId: newRequestId() });
  if (flags.json === true) printJson(text);
  else printLine(`${id} is revoked.`);
}

const columns: readonly Column<TokenJson>[] = [
  { heading: "ID", text: ({ id }) => orDash(id) },
  { heading: "ROLE", text: ({ role }) => orDash(role) },
  { heading: "AGENT", text: ({ agent }) => orDash(agent) },
  { heading: "USES", text: usesText },
  { heading: "CREATED", text: ({ createdAt }) => instantText(createdAt) },
  { heading: "EXPIRES", text: ({ expiresAt }) => instantText(expiresAt ?? undefined) },
  {
    heading: "REVOKED",
    text: ({ revokedAt }) => instantText(revokedAt ?? undefined),
    tone: ({ revokedAt }) => (revokedAt == null ? undefined : "bad"),
  },
  { heading: "LAST USED", text: ({ lastUsedAt }) => instantText(lastUsedAt ?? undefined) },
];

function describe(token: TokenJson): [string, string][] {
  return [
    ...columns.map((column): [string, string] => [column.heading.toLowerCase(), column.text(token)]),
    ["labels", pairsText(token.labels)],
  ];
}

function usesText({ maxUses, uses }: TokenJson): string {
  return maxUses === undefined || maxUses === 0 ? orDash(undefined) : `${uses ?? 0} of ${maxUses}`;
}
