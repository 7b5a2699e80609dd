import { chmod, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { newUuid } from "../runtime/resource-id.ts";
import { type Db, inTransaction, type Tx } from "../storage/database.ts";
import { createToken } from "./token-service.ts";
import { hasServerToken, lockServerTokens } from "./token-store.ts";

/** The file that holds the server's own operator token, in the data folder. */
export const OPERATOR_TOKEN_FILE = "operator.token";

/**
 * Mints the server's own operator token on the first start of a database and writes it to the data folder; resolves to
 * the file's path, or undefined where the database has one. The file is there before the token can be: a crash between
 * the two leaves a file without a token, never a token that nobody holds.
 */
export async function ensureOperatorToken(
  db: Db,
  projectId: string,
  dataDir: string,
): Promise<string | undefined> {
  return await inTransaction(db, async (tx) => {
    await lockServerTokens(tx);
    if (await hasServerToken(tx)) return undefined;
    return await mintToFile(tx, projectId, dataDir);
  });
}

/** Mints another operator token for the server and writes it over the file; resolves to the file's path. */
export async function recoverOperatorToken(db: Db, projectId: string, dataDir: string): Promise<string> {
  return await inTransaction(db, async (tx) => await mintToFile(tx, projectId, dataDir));
}

async function mintToFile(tx: Tx, projectId: string, dataDir: string): Promise<string> {
  const { text } = await createToken(tx, {
    projectId,
    role: "operator",
    actor: "server",
    server: true,
    ttlMs: undefined,
  });
  await mkdir(dataDir, { recursive: true });
  const path = join(dataDir, OPERATOR_TOKEN_FILE);
  const draft = `${path}.${newUuid()}`;
  try {
    await writeFile(draft, `${text}\n`, { mode: 0o600, flag: "wx" });
    await chmod(draft, 0o600);
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
  return path;
}
