import { type Db, inTransaction } from "../storage/database.ts";
import type { SignInCodes } from "./sign-in-codes.ts";
import { createToken, requireToken } from "./token-service.ts";

/** A working day: long enough to leave the page open, too short for a token that was copied to matter for long. */
const SESSION_MS = 12 * 3_600_000;

/**
 * Takes a code and mints an operator token of its project in return, audited as the server's doing. Undefined where
 * the code is good for nothing.
 */
export async function signIn(
  db: Db,
  codes: SignInCodes,
  code: string,
): Promise<{ secret: string; expiresAt: Date } | undefined> {
  const projectId = codes.take(code);
  if (projectId === undefined) return undefined;
  return await inTransaction(db, async (tx) => {
    const { tokenId, text } = await createToken(tx, {
      projectId,
      role: "operator",
      actor: "server",
      reason: "signed in to the dashboard by the link that the server printed",
      labels: { "drover/made-for": "dashboard" },
      ttlMs: SESSION_MS,
    });
    const { expiresAt } = await requireToken(tx, projectId, tokenId);
    if (expiresAt === null) throw new Error("a session's token has no end");
    return { secret: text, expiresAt };
  });
}
