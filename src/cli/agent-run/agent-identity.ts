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

/** The folder of an agent's credentials: the given one, or one by the agent's name in the user's configuration. */
export function stateFolder(
  given: string | undefined,
  name: string | undefined,
  environment: Environment,
): string {
  if (given !== undefined) return resolve(given);
  if (name === undefined) throw usageFailure("Name the agent by --name, or its folder by --state-dir.");
  // The name becomes part of a path.
  if (!RESOURCE_NAME.test(name)) throw usageFailure("The agent's name holds characters that no name has.");
  const configured = environment.XDG_CONFIG_HOME ?? "";
  // A relative path there is to be ignored, says the specification of that variable.
  const base = configured.startsWith("/") ? configured : join(homedir(), ".config");
  return join(base, "drover", "agents", name);
}

export interface Identity {
  readonly folder: string;
  readonly name: string | undefined;
  /** Undefined where none was given. */
  readonly enrollmentToken: string | undefined;
  readonly server: ServerOptions;
  readonly profile: AgentProfile;
}

/** The agent's tokens; on the first run it is enrolled for them. */
export async function identify(identity: Identity): Promise<CredentialStore> {
  const { folder } = identity;
  const store = fileCredentialStore(join(folder, "agent.token"));
  if ((await loaded(store, folder)) !== undefined) return store;
  await enroll(identity, store);
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

async function enroll(identity: Identity, store: CredentialStore): Promise<void> {
  const { folder, name, enrollmentToken, server, profile } = identity;
  if (name === undefined || enrollmentToken === undefined) {
    const failure = new Failure("UNAUTHENTICATED", `There is no token in ${folder}.`, { kind: "local" });
    failure.hint =
      "On its first run an agent needs --name and an enrollment token, by DROVER_TOKEN or --enrollment-token.";
    throw failure;
  }
  try {
    // Kept until the token is: should the answer get lost, the next run asks for the same agent again.
    const nonce = await keptNonce(folder);
    const token = await enrollAgent({ ...server, ...profile, name, enrollmentToken, nonce });
    await store.replace(token);
    await rm(join(folder, NONCE), { force: true });
  } catch (error) {
    throw error instanceof AgentError ? failureOfAgent(error, "--enrollment-token or DROVER_TOKEN") : error;
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
