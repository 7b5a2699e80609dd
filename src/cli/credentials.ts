import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Failure, usageFailure } from "./failure.ts";
import { runningServer } from "./server-file.ts";
import { readTlsOptions, type TlsFlags, type TlsOptions } from "./tls-options.ts";

/** Where a token came from, in words for people; never the token itself. */
export interface TokenSource {
  token: string;
  from: string;
}

/** A server, and who speaks to it. */
export interface Connection {
  /** Base address, without a slash at its end; of the first server where there are several. */
  url: string;
  /** Of the other servers on the same database, to be asked when that one is lost. */
  others?: readonly string[];
  token: TokenSource | undefined;
  project: string | undefined;
  /** How to speak to an https address; undefined leaves it to Node. */
  tls?: TlsOptions | undefined;
  /** Places in which a token was looked for, in words. */
  looked: string[];
}

export interface CredentialFlags extends TlsFlags {
  /** Each may be several, with commas. */
  url?: readonly string[];
  token?: string;
  project?: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

const KEPT_HERE =
  "DROVER_DATA_DIR (unless it is set, .drover/operator.token goes to loopback addresses only)";
const DEFAULT_URL = "http://127.0.0.1:8080";

/** Settles server, token and project: flags win over the environment, and that over what a server left in its data directory. */
export function resolveConnection(
  flags: CredentialFlags,
  environment: Environment,
  operatorToken: "offered" | "withheld" = "offered",
): Connection {
  const [url, ...others] = baseUrls(flags.url ?? [filled(environment.DROVER_URL) ?? urlHere(environment)]);
  const project = flags.project ?? filled(environment.DROVER_PROJECT);
  const tls = readTlsOptions(flags, environment);
  const looked = ["--token", "DROVER_TOKEN"];
  const given = givenToken(flags, environment);
  if (given !== undefined || operatorToken === "withheld")
    return { url, others, token: given, project, tls, looked };
  const file = operatorTokenFile(environment, [url, ...others]);
  if (file === undefined)
    return { url, others, token: undefined, project, tls, looked: [...looked, KEPT_HERE] };
  return { url, others, token: tokenIn(file), project, tls, looked: [...looked, file] };
}

function urlHere(environment: Environment): string {
  return runningServer(environment)?.http ?? DEFAULT_URL;
}

function givenToken(flags: CredentialFlags, environment: Environment): TokenSource | undefined {
  if (flags.token !== undefined) return { token: plainToken(flags.token, "--token"), from: "--token" };
  const token = filled(environment.DROVER_TOKEN);
  return token === undefined ? undefined : { token: plainToken(token, "DROVER_TOKEN"), from: "DROVER_TOKEN" };
}

function operatorTokenFile(environment: Environment, urls: readonly string[]): string | undefined {
  const named = filled(environment.DROVER_DATA_DIR);
  // A credential that nobody named leaves this machine for nobody: else `--url` alone would send it anywhere.
  if (named === undefined && !urls.every((url) => isLoopback(new URL(url).hostname))) return undefined;
  return join(resolve(named ?? ".drover"), "operator.token");
}

function tokenIn(path: string): TokenSource | undefined {
  try {
    const token = readFileSync(path, "utf8").trim();
    return token === "" ? undefined : { token: plainToken(token, path), from: path };
  } catch (error) {
    if (error instanceof Failure) throw error;
    const code = (error as NodeJS.ErrnoException).code; // node:fs throws nothing else
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new Failure("UNAUTHENTICATED", `${path} cannot be read (${code}).`, { kind: "local" }, error);
  }
}

/** A header takes no more than this; checked here, since the error of `fetch` would print the token. */
function plainToken(token: string, from: string): string {
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw usageFailure(`The token from ${from} is empty or holds characters that no token has.`);
}

function baseUrls(texts: readonly string[]): [string, ...string[]] {
  const all = texts.flatMap((text) => text.split(",")).map((text) => baseUrl(text.trim()));
  const [first, ...others] = new Set(all);
  // Even an empty text is one address, and refused as such.
  if (first === undefined) return [baseUrl("")];
  return [first, ...others];
}

function baseUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  // The text is not repeated: it may hold a password.
  if (url === undefined || !["http:", "https:"].includes(url.protocol))
    throw usageFailure(`The server's address must be an http or https URL, such as ${DEFAULT_URL}.`);
  if (url.username !== "" || url.password !== "")
    throw usageFailure(
      "The server's address must not carry a user or password; give a token by DROVER_TOKEN.",
    );
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

export function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

function filled(value: string | undefined): string | undefined {
  return value === "" ? undefined : value;
}
