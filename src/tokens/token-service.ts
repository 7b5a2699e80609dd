import { randomBytes } from "node:crypto";
import type { AgentCaller, Caller, Role } from "../identity/caller.ts";
import { unauthenticated } from "../identity/unauthenticated.ts";
import { Refusal } from "../runtime/refusal.ts";
import { formatId, newUuid } from "../runtime/resource-id.ts";
import type { Db, Tx } from "../storage/database.ts";
import type { Labels } from "../storage/schema.ts";
import { hashSecret, mintToken, parseToken } from "./token.ts";
import { recordTokenChanges, type TokenChange } from "./token-change.ts";
import {
  findProjectToken,
  insertToken,
  lockAgentTokens,
  lockToken,
  putRenewal,
  readRenewalDueMs,
  replaceSecret,
  retireOthers,
  revoke,
  revokeAllOfAgent,
  type TokenRecord,
  takeUse,
} from "./token-store.ts";

/** An unused renewal whose answer was lost is replaced, but not while the agent may still be storing it. */
const RENEWAL_REPLACED_AFTER_MS = 3_600_000;
const SECRET_BYTES = 32;

/** A token as its holder gets it, once. */
export interface MintedToken {
  tokenId: string;
  /** The whole text, `drv_…`. */
  text: string;
}

function mint(
  role: Role,
  tokenId: string,
  bytes = randomBytes(SECRET_BYTES),
): { text: string; secretHash: Buffer } {
  const text = mintToken(role, tokenId, bytes);
  const parsed = parseToken(text);
  if (parsed.kind !== "ok") throw new Error("a minted token does not parse");
  return { text, secretHash: hashSecret(parsed.secret) };
}

export interface TokenWish {
  projectId: string;
  role: Role;
  actor: string;
  requestId?: string;
  server?: boolean;
  /** Why, for the audit log. */
  reason?: string;
  labels?: Labels;
  agentId?: string;
  maxUses?: number;
  ttlMs: number | undefined;
}

/** Mints a token that works at once. */
export async function createToken(tx: Tx, wish: TokenWish): Promise<MintedToken> {
  const { actor, requestId, reason, ...row } = wish;
  const tokenId = newUuid();
  const { text, secretHash } = mint(wish.role, tokenId);
  await insertToken(tx, { ...row, id: tokenId, secretHash });
  const { projectId, role, agentId } = wish;
  await recordTokenChanges(tx, [
    {
      type: "token.created",
      projectId,
      tokenId,
      role,
      agentId,
      actor,
      requestId,
      ...(reason !== undefined && { reason }),
    },
  ]);
  return { tokenId, text };
}

/** Gives a token another secret, for the repeat of a call whose answer was lost; kills the one before. */
export async function freshSecret(
  tx: Tx,
  token: Pick<TokenRecord, "id" | "role" | "projectId" | "agentId">,
  actor: string,
): Promise<string> {
  const { text, secretHash } = mint(token.role, token.id);
  await replaceSecret(tx, token.id, secretHash);
  const { id: tokenId, role, projectId, agentId } = token;
  const reason = "the call that made it was repeated";
  await recordTokenChanges(tx, [
    { type: "token.secret_replaced", projectId, tokenId, role, agentId: agentId ?? undefined, actor, reason },
  ]);
  return text;
}

/** The project's token, or NOT_FOUND. */
export async function requireToken(tx: Tx, projectId: string, id: string): Promise<TokenRecord> {
  const token = await findProjectToken(tx, projectId, id);
  if (token === undefined) throw new Refusal("not-found", "no such token");
  return token;
}

/** Revokes a token for good; a second time changes nothing. Resolves to the ids that ended. */
export async function revokeToken(tx: Tx, caller: Caller, id: string, requestId: string): Promise<string[]> {
  const token = await requireToken(tx, caller.projectId, id);
  if (token.agentId !== null) await lockAgentTokens(tx, caller.projectId, token.agentId);
  const revoked = await revoke(tx, caller.projectId, id, token.agentId);
  const { role } = token;
  const agentId = token.agentId ?? undefined;
  const origin = { actor: caller.actor, requestId, reason: "revoked" };
  await recordRevocations(tx, revoked, { projectId: caller.projectId, role, agentId, ...origin });
  return revoked;
}

/** Revokes all tokens of an agent, because it is removed. */
export async function revokeAgentTokens(
  tx: Tx,
  projectId: string,
  agentId: string,
  origin: { actor: string; requestId: string; reason: string },
): Promise<string[]> {
  await lockAgentTokens(tx, projectId, agentId);
  const revoked = await revokeAllOfAgent(tx, projectId, agentId);
  await recordRevocations(tx, revoked, { projectId, role: "agent", agentId, ...origin });
  return revoked;
}

async function recordRevocations(
  tx: Tx,
  tokenIds: string[],
  common: Omit<TokenChange, "type" | "tokenId">,
): Promise<void> {
  // The oldest first: an update tells of its rows in no order.
  const changes = tokenIds
    .toSorted()
    .map((tokenId) => ({ type: "token.revoked" as const, tokenId, ...common }));
  await recordTokenChanges(tx, changes);
}

/** A new token for the agent, at its own wish; the one in use ends when the new one is first used. */
export async function rotateToken(
  tx: Tx,
  caller: AgentCaller,
  ttlMs: number,
  requestId: string,
): Promise<MintedToken> {
  const minted = await mintRenewal(tx, caller, ttlMs, 0, requestId);
  // A renewal of any age can be replaced, but a token that was replaced itself meanwhile gets none.
  if (minted === undefined) throw unauthenticated();
  return minted;
}

/** A new token for an agent whose own is past a third of its life; undefined while an unused one is younger than an hour. */
export async function renewToken(
  tx: Tx,
  caller: AgentCaller,
  ttlMs: number,
): Promise<MintedToken | undefined> {
  return await mintRenewal(tx, caller, ttlMs, RENEWAL_REPLACED_AFTER_MS, "");
}

/** Milliseconds until the agent's token in force is past a third of its life, 0 from then on; undefined: never. */
export async function renewalDueMs(db: Db, caller: AgentCaller): Promise<number | undefined> {
  return await readRenewalDueMs(db, caller.projectId, caller.agentId);
}

async function mintRenewal(
  tx: Tx,
  caller: AgentCaller,
  ttlMs: number,
  replaceAfterMs: number,
  requestId: string,
): Promise<MintedToken | undefined> {
  const state = await lockToken(tx, caller.tokenId);
  // Nobody who held the token may leave its revocation with a new one.
  if (state === "revoked") throw unauthenticated();
  if (state === "retired") return undefined;
  const secretBytes = randomBytes(SECRET_BYTES);
  const wishedId = newUuid();
  const { projectId, agentId } = caller;
  const { secretHash } = mint("agent", wishedId, secretBytes);
  const renewal = { id: wishedId, projectId, agentId, secretHash, ttlMs };
  const tokenId = await putRenewal(tx, renewal, replaceAfterMs);
  if (tokenId === undefined) return undefined;
  const { actor } = caller;
  await recordTokenChanges(tx, [
    { type: "token.renewed", projectId, tokenId, role: "agent", agentId, actor, requestId },
  ]);
  // The slot may have held an unused renewal, whose id stays; the text carries the id.
  return { tokenId, text: mint("agent", tokenId, secretBytes).text };
}

/** Makes one token of an agent the only one, when a renewal is first used or an enrollment is repeated. */
export async function keepOnly(
  tx: Tx,
  projectId: string,
  agentId: string,
  tokenId: string,
  actor: string,
): Promise<void> {
  await lockAgentTokens(tx, projectId, agentId);
  const retired = await retireOthers(tx, projectId, agentId, tokenId);
  const reason = `replaced by ${formatId("token", tokenId)}`;
  const common = { type: "token.retired", projectId, role: "agent", agentId, actor, reason } as const;
  await recordTokenChanges(
    tx,
    retired.toSorted().map((retiredId) => ({ ...common, tokenId: retiredId })),
  );
}

/**
 * Serialises what is done with one enrollment token until the transaction ends, so that one nonce enrolls one agent.
 * Refuses where the token was revoked meanwhile.
 */
export async function lockEnrollmentToken(tx: Tx, tokenId: string): Promise<void> {
  if ((await lockToken(tx, tokenId)) === "revoked") throw unauthenticated();
}

/** Counts one use of an enrollment token; false where it is used up, expired or revoked. */
export async function countEnrollment(tx: Tx, tokenId: string): Promise<boolean> {
  return await takeUse(tx, tokenId);
}
