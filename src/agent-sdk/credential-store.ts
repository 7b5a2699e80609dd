import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** An agent's tokens. `renewed` is kept beside `current` until the server has accepted it. */
export interface Credentials {
  readonly current: string;
  readonly renewed: string | undefined;
}

/** Where an agent's tokens live. What a promise of it says is durable once it resolves. */
export interface CredentialStore {
  /** Undefined where there is none yet. */
  load(): Promise<Credentials | undefined>;
  /** Keeps the agent's first token, or one that replaces all. */
  replace(token: string): Promise<void>;
  /** Keeps a renewed token beside the current one; it is not used before this has resolved. */
  keepRenewed(token: string): Promise<void>;
  /** Makes the renewed token the current one, once it was accepted. */
  promoteRenewed(): Promise<void>;
}

/**
 * Tokens in files of mode 0600: `path` for the current one, `path` with `.renewed` behind it for the renewed one.
 * Each change is one rename of a synced file, so that a crash at any point leaves a token that works.
 */
export function fileCredentialStore(path: string): CredentialStore {
  const renewedPath = `${path}.renewed`;
  return {
    async load() {
      const [current, renewed] = await Promise.all([tokenIn(path), tokenIn(renewedPath)]);
      if (current !== undefined) return { current, renewed };
      return renewed === undefined ? undefined : { current: renewed, renewed: undefined };
    },
    async replace(token) {
      await writeDurably(path, token);
      await rm(renewedPath, { force: true });
    },
    keepRenewed: (token) => writeDurably(renewedPath, token),
    async promoteRenewed() {
      await rename(renewedPath, path);
      await syncFolder(path);
    },
  };
}

/** Tokens that live as long as the process does; for agents that get one from elsewhere at each start. */
export function memoryCredentialStore(token: string): CredentialStore {
  let credentials: Credentials = { current: token, renewed: undefined };
  return {
    load: async () => credentials,
    replace: async (current) => {
      credentials = { current, renewed: undefined };
    },
    keepRenewed: async (renewed) => {
      credentials = { ...credentials, renewed };
    },
    promoteRenewed: async () => {
      credentials = { current: credentials.renewed ?? credentials.current, renewed: undefined };
    },
  };
}

async function tokenIn(path: string): Promise<string | undefined> {
  try {
    const token = (await readFile(path, "utf8")).trim();
    return token === "" ? undefined : token;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** Writes a file that appears whole or not at all, readable by its owner alone, and survives a power cut. */
export async function writeDurably(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const draft = `${path}.${randomBytes(6).toString("hex")}`;
  const file = await open(draft, "wx", 0o600);
  try {
    await file.writeFile(`${text}\n`);
    await file.sync();
    await file.close();
    await rename(draft, path);
  } catch (error) {
    // Closing again fails where it was the rename that failed; the draft must go either way.
    await file.close().catch(() => undefined);
    await rm(draft, { force: true });
    throw error;
  }
  await syncFolder(path);
}

/** A rename is durable only once the folder is. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
