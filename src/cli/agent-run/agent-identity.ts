import { mkdir, readFile, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import {
  AgentError,
  type AgentProfile,
  type CredentialStore,
  enrollAgent,
  fileCredentialStore,
  type ServerOptions,
} from "../../agent-sdk/agent-client.ts";
import { newRequestId } from "../api.ts";
import { RESOURCE_NAME } from "../arguments.ts";
import { Failure, usageFailure } from "../failure.ts";
import { note } from "../output.ts";
import { prepareSecretFile } from "../secret-file.ts";
import { failureOfAgent } from "./agent-failure.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** What an agent has on its first run: a token that enrolls it, or one of its own. */
export type FirstToken =
  | { readonly kind: "enrollment"; readonly secret: string; readonly folder?: undefined }
  /** `folder` names it where nothing else does: two agents of one machine would share a folder otherwise. */
  | { readonly kind: "agent"; readonly secret: string; readonly folder: string };

/** The flag's token, or the variable's where that is for agents and not an operator's or a reader's. */
export function firstTokenOf(flag: string | undefined, variable = ""): FirstToken | undefined {
  const secret = flag ?? (/^drv_(enr|agt)_/.test(variable) ? variable : undefined);
  if (secret === undefined) return undefined;
  // A header takes no more than this; the text itself is not shown.
  if (!/^[\x21-\x7e]+$/.test(secret))
    throw usageFailure("The token is empty or holds characters that no token has.");
  const id = /^drv_agt_([0-9A-Za-z]{1,64})_/.exec(secret)?.[1];
  return id === undefined ? { kind: "enrollment", secret } : { kind: "agent", secret, folder: id };
}

/** A name that an agent may have, as near as can be to its machine's. */
export function machineName(host: string): string {
  return (
    host
      .replaceAll(/[^A-Za-z0-9._-]/g, "-")
      .replace(/^[^A-Za-z0-9]+/, "")
      .slice(0, 128) || "agent"
  );
}

/** The folder of an agent's credentials: the given one, or one by the agent's name in the user's configuration. */
export function stateFolder(given: string | undefined, name: string, environment: Environment): string {
  if (given !== undefined) return resolve(given);
  // The name becomes part of a path.
  if (!RESOURCE_NAME.test(name)) throw usageFailure("The agent's name holds characters that no name has.");
  const configured = environment.XDG_CONFIG_HOME ?? "";
  // A relative path there is to be ignored, says the specification of that variable.
  const base = configured.startsWith("/") ? configured : join(homedir(), ".config");
  return join(base, "drover", "agents", name);
}

export interface Identity {
  readonly folder: string;
  readonly name: string;
  /** Undefined where none was given. */
  readonly token: FirstToken | undefined;
  readonly server: ServerOptions;
  readonly profile: AgentProfile;
}

/** The agent's tokens: those that it has kept, or what it has on its first run. */
export async function identify(identity: Identity): Promise<CredentialStore> {
  const { folder, token } = identity;
  const store = fileCredentialStore(join(folder, "agent.token"));
  // What was kept goes before what was given: it has been renewed since.
  if ((await loaded(store, folder)) !== undefined) return store;
  if (token?.kind === "agent") await store.replace(token.secret);
  else await enroll(identity, token?.secret, store);
  return store;
}

async function loaded(store: CredentialStore, folder: string) {
  try {
    return await store.load();
  } catch (error) {
    throw new Failure(
      "UNKNOWN",
      `The token in ${folder} cannot be read (${codeOf(error)}).`,
      { kind: "local" },
      error,
    );
  }
}

async function enroll(
  identity: Identity,
  enrollmentToken: string | undefined,
  store: CredentialStore,
): Promise<void> {
  const { folder, name, server, profile } = identity;
  if (enrollmentToken === undefined) {
    const failure = new Failure("UNAUTHENTICATED", `There is no token in ${folder}.`, { kind: "local" });
    failure.hint = "On its first run an agent needs an enrollment token, by DROVER_TOKEN or --token.";
    throw failure;
  }
  try {
    // Kept until the token is: should the answer get lost, the next run asks for the same agent again.
    const nonce = await keptNonce(folder);
    const token = await enrollAgent({ ...server, ...profile, name, enrollmentToken, nonce });
    await store.replace(token);
    await rm(join(folder, NONCE), { force: true });
  } catch (error) {
    throw error instanceof AgentError ? failureOfAgent(error, "--token or DROVER_TOKEN") : error;
  }
  note(`${name} is enrolled. Its token is in ${join(folder, "agent.token")}.`);
}

const NONCE = "enrollment.nonce";

async function keptNonce(folder: string): Promise<string> {
  const path = join(folder, NONCE);
  try {
    const kept = (await readFile(path, "utf8")).trim();
    if (kept !== "") return kept;
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
  }
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const nonce = newRequestId();
  const file = await prepareSecretFile(path, true);
  await file.keep(nonce);
  return nonce;
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : String(error);
}
