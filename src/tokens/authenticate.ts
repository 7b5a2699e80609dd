import { type ContextKey, createContextKey } from "@connectrpc/connect";
import type { Caller, Role } from "../identity/caller.ts";
import { unauthenticated } from "../identity/unauthenticated.ts";
import { formatId } from "../runtime/resource-id.ts";
import { type Db, inTransaction } from "../storage/database.ts";
import { parseBearer } from "./bearer.ts";
import { parseToken, secretMatches } from "./token.ts";
import { recordTokenChanges } from "./token-change.ts";
import { keepOnly } from "./token-service.ts";
import { activate, findToken, lockAgentTokens, type TokenRecord } from "./token-store.ts";

/** What a valid token says of its holder. */
export interface Authentication {
  caller: Caller;
  tokenId: string;
  /** Past a third of its life: the next heartbeat's answer brings a new one. */
  renewalDue: boolean;
}

/** Set with the caller: whether its token is past a third of its life. */
export const renewalDueKey: ContextKey<boolean> = createContextKey<boolean>(false, {
  description: "the token is to be renewed",
});

/** What authentication needs of the database. */
export interface TokenAccess {
  readonly db: Db;
  /** The token of that id as it is at some time after the call; undefined where there is none. */
  find(id: string): Promise<TokenRecord | undefined>;
}

/**
 * Who an authorization header speaks for. A token that is malformed or mistyped is refused by its checksum, without a
 * query. `mayRenew` is for the one method that an expired agent token may still call.
 */
export async function authenticate(
  { db, find }: TokenAccess,
  header: string | null,
  mayRenew: boolean,
): Promise<Authentication> {
  const bearer = parseBearer(header);
  const token = bearer === undefined ? undefined : parseToken(bearer);
  if (token === undefined || token.kind === "malformed") throw unauthenticated();
  const authenticatedAtMs = performance.now();
  const record = await find(token.id);
  // Compared also where there is no such token: time must not tell which ids exist.
  const matches = secretMatches(token.secret, record?.secretHash);
  if (record === undefined || !matches || record.role !== token.role || !isInForce(record, mayRenew)) {
    throw unauthenticated();
  }
  if (record.activatedAt === null) await useRenewal(db, record);
  return {
    caller: callerFrom(record, authenticatedAtMs),
    tokenId: record.id,
    renewalDue: record.role === "agent" && record.renewalDue,
  };
}

function isInForce(token: TokenRecord, mayRenew: boolean): boolean {
  if (token.revokedAt !== null || token.retiredAt !== null) return false;
  if (!token.expired) return true;
  return mayRenew && token.role === "agent" && !token.beyondRenewal;
}

/** The first use of a renewal retires the agent's other tokens. */
async function useRenewal(db: Db, record: TokenRecord): Promise<void> {
  const { agentId } = record;
  if (agentId === null) throw new Error("only an agent's token can be a renewal");
  const actor = actorOf(record);
  const activated = await inTransaction(db, async (tx) => {
    await lockAgentTokens(tx, record.projectId, agentId);
    if (!(await activate(tx, record.id, record.secretHash))) return false;
    await keepOnly(tx, record.projectId, agentId, record.id, actor);
    const { projectId, id: tokenId, role } = record;
    await recordTokenChanges(tx, [{ type: "token.activated", projectId, tokenId, role, agentId, actor }]);
    return true;
  });
  if (activated) return;
  const now = await findToken(db, record.id);
  const same = now?.secretHash.equals(record.secretHash) ?? false;
  if (now === undefined || !same || now.activatedAt === null || !isInForce(now, false))
    throw unauthenticated();
}

function actorOf(record: TokenRecord): string {
  return record.agentName === null ? `token:${formatId("token", record.id)}` : `agent:${record.agentName}`;
}

function callerFrom(record: TokenRecord, authenticatedAtMs: number): Caller {
  const holder = {
    projectId: record.projectId,
    project: record.project,
    tokenId: record.id,
    actor: actorOf(record),
    authenticatedAtMs,
  };
  const role: Role = record.role;
  switch (role) {
    case "agent":
      if (record.agentId === null || record.agentName === null)
        throw new Error("an agent token without its agent");
      return { ...holder, role, agentId: record.agentId, agentName: record.agentName };
    case "enrollment":
      return { ...holder, role, labels: record.labels };
    case "operator":
      return { ...holder, role, server: record.server };
    case "runner":
    case "viewer":
      return { ...holder, role };
  }
}
