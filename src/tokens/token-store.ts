import { and, asc, desc, eq, inArray, isNull, or, type SQL, sql } from "drizzle-orm";
import type { Role } from "../identity/caller.ts";
import type { Db, Tx } from "../storage/database.ts";
import type { PageRequest } from "../storage/page.ts";
import { agents, type Labels, projects, tokens } from "../storage/schema.ts";

/** A token with the names that its ids stand for and what the database's clock says of it. */
export interface TokenRecord {
  id: string;
  projectId: string;
  project: string;
  role: Role;
  server: boolean;
  secretHash: Buffer;
  labels: Labels;
  agentId: string | null;
  agentName: string | null;
  maxUses: number;
  uses: number;
  createdAt: Date;
  expiresAt: Date | null;
  revokedAt: Date | null;
  activatedAt: Date | null;
  retiredAt: Date | null;
  lastUsedAt: Date | null;
  expired: boolean;
  /** Expired for longer than it had lived: it may not even renew itself. */
  beyondRenewal: boolean;
  /** Past a third of its life. */
  renewalDue: boolean;
  sortTime: string;
}

const recordColumns = {
  id: tokens.id,
  projectId: tokens.projectId,
  project: projects.name,
  role: tokens.role,
  server: tokens.server,
  secretHash: tokens.secretHash,
  labels: tokens.labels,
  agentId: tokens.agentId,
  agentName: agents.name,
  maxUses: tokens.maxUses,
  uses: tokens.uses,
  createdAt: tokens.createdAt,
  expiresAt: tokens.expiresAt,
  revokedAt: tokens.revokedAt,
  activatedAt: tokens.activatedAt,
  retiredAt: tokens.retiredAt,
  lastUsedAt: tokens.lastUsedAt,
  expired: sql<boolean>`coalesce(${tokens.expiresAt} <= clock_timestamp(), false)`,
  beyondRenewal: sql<boolean>`coalesce(${tokens.expiresAt} + (${tokens.expiresAt} - ${tokens.mintedAt}) <= clock_timestamp(), false)`,
  renewalDue: sql<boolean>`coalesce(${tokens.mintedAt} + (${tokens.expiresAt} - ${tokens.mintedAt}) / 3 <= clock_timestamp(), false)`,
  sortTime: sql<string>`${tokens.createdAt}::text`,
};

function selectRecords(db: Db | Tx) {
  return db
    .select(recordColumns)
    .from(tokens)
    .innerJoin(projects, eq(projects.id, tokens.projectId))
    .leftJoin(agents, and(eq(agents.projectId, tokens.projectId), eq(agents.id, tokens.agentId)));
}

/** The token of that id in any project; for authentication, which does not know the project yet. */
export async function findToken(db: Db | Tx, id: string): Promise<TokenRecord | undefined> {
  const [row] = await selectRecords(db).where(eq(tokens.id, id));
  return row;
}

/** Those of the tokens that there are, of any project; for authentication of many calls at once. */
export async function findTokens(db: Db, ids: readonly string[]): Promise<TokenRecord[]> {
  return await selectRecords(db).where(sql`${tokens.id} = ANY(${sql.param(ids)}::uuid[])`);
}

/** The project's token of that id. */
export async function findProjectToken(
  db: Db | Tx,
  projectId: string,
  id: string,
): Promise<TokenRecord | undefined> {
  const [row] = await selectRecords(db).where(and(eq(tokens.projectId, projectId), eq(tokens.id, id)));
  return row;
}

export interface TokenFilter {
  projectId: string;
  roles: Role[];
  agent?: string;
  oldestFirst: boolean;
}

/** One row more than the page's size. */
export async function listTokens(db: Db, filter: TokenFilter, page: PageRequest): Promise<TokenRecord[]> {
  const conditions: SQL[] = [eq(tokens.projectId, filter.projectId)];
  if (filter.roles.length > 0) conditions.push(inArray(tokens.role, filter.roles));
  if (filter.agent !== undefined) conditions.push(eq(agents.name, filter.agent), isNull(agents.removedAt));
  if (page.after !== undefined) {
    const [time, id] = page.after;
    const place = sql`(${time}::timestamptz, ${id}::uuid)`;
    conditions.push(
      filter.oldestFirst
        ? sql`(${tokens.createdAt}, ${tokens.id}) > ${place}`
        : sql`(${tokens.createdAt}, ${tokens.id}) < ${place}`,
    );
  }
  const direction = filter.oldestFirst ? asc : desc;
  return await selectRecords(db)
    .where(and(...conditions))
    .orderBy(direction(tokens.createdAt), direction(tokens.id))
    .limit(page.size + 1);
}

export interface NewToken {
  id: string;
  projectId: string;
  role: Role;
  server?: boolean;
  secretHash: Buffer;
  labels?: Labels;
  agentId?: string;
  maxUses?: number;
  /** Undefined: it does not end by itself. */
  ttlMs: number | undefined;
}

function expiry(ttlMs: number | undefined): SQL {
  return ttlMs === undefined ? sql`NULL` : sql`clock_timestamp() + ${ttlMs} * interval '1 millisecond'`;
}

/** Adds a token that works at once. */
export async function insertToken(tx: Tx, token: NewToken): Promise<void> {
  const { ttlMs, ...row } = token;
  await tx.insert(tokens).values({ ...row, expiresAt: expiry(ttlMs), activatedAt: sql`clock_timestamp()` });
}

/** The row of the agent's unused renewal, in the terms of the partial unique index that allows one of them. */
const renewalSlot = sql`agent_id IS NOT NULL AND activated_at IS NULL AND revoked_at IS NULL AND retired_at IS NULL`;

/**
 * Puts a secret into the agent's one slot for a renewal, over an unused one that is at least that old. Resolves to the
 * id of the token in the slot, or undefined where a younger one stays.
 */
export async function putRenewal(
  tx: Tx,
  renewal: { id: string; projectId: string; agentId: string; secretHash: Buffer; ttlMs: number },
  replaceAfterMs: number,
): Promise<string | undefined> {
  const [row] = await tx
    .insert(tokens)
    .values({
      id: renewal.id,
      projectId: renewal.projectId,
      role: "agent",
      agentId: renewal.agentId,
      secretHash: renewal.secretHash,
      expiresAt: expiry(renewal.ttlMs),
    })
    .onConflictDoUpdate({
      target: [tokens.projectId, tokens.agentId],
      targetWhere: renewalSlot,
      set: {
        secretHash: renewal.secretHash,
        mintedAt: sql`clock_timestamp()`,
        expiresAt: expiry(renewal.ttlMs),
      },
      setWhere: sql`${tokens.mintedAt} <= clock_timestamp() - ${replaceAfterMs} * interval '1 millisecond'`,
    })
    .returning({ id: tokens.id });
  return row?.id;
}

/** Replaces a token's secret; the one before is worth nothing from then on. */
export async function replaceSecret(tx: Tx, id: string, secretHash: Buffer): Promise<void> {
  await tx.update(tokens).set({ secretHash }).where(eq(tokens.id, id));
}

/**
 * Marks a renewal as used. False where another call did it first, or where it was revoked, retired or minted anew
 * meanwhile: the old token must not end for a renewal whose secret is worth nothing any more.
 */
export async function activate(tx: Tx, id: string, secretHash: Buffer): Promise<boolean> {
  const rows = await tx
    .update(tokens)
    .set({ activatedAt: sql`clock_timestamp()` })
    .where(
      and(
        eq(tokens.id, id),
        eq(tokens.secretHash, secretHash),
        isNull(tokens.activatedAt),
        isNull(tokens.revokedAt),
        isNull(tokens.retiredAt),
      ),
    )
    .returning({ id: tokens.id });
  return rows.length > 0;
}

/** Retires the agent's tokens but one; resolves to the ids that were in force. */
export async function retireOthers(
  tx: Tx,
  projectId: string,
  agentId: string,
  keepId: string,
): Promise<string[]> {
  const rows = await tx
    .update(tokens)
    .set({ retiredAt: sql`clock_timestamp()` })
    .where(
      and(
        eq(tokens.projectId, projectId),
        eq(tokens.agentId, agentId),
        sql`${tokens.id} <> ${keepId}`,
        isNull(tokens.retiredAt),
        isNull(tokens.revokedAt),
      ),
    )
    .returning({ id: tokens.id });
  return rows.map((row) => row.id);
}

/**
 * Revokes a token, and with an agent's the renewal that may have been handed to whoever held it. Resolves to the ids
 * revoked; empty where it was revoked before.
 */
export async function revoke(
  tx: Tx,
  projectId: string,
  id: string,
  agentId: string | null,
): Promise<string[]> {
  const renewal = agentId === null ? undefined : and(eq(tokens.agentId, agentId), renewalSlot);
  const rows = await tx
    .update(tokens)
    .set({ revokedAt: sql`clock_timestamp()` })
    .where(and(eq(tokens.projectId, projectId), isNull(tokens.revokedAt), or(eq(tokens.id, id), renewal)))
    .returning({ id: tokens.id });
  return rows.map((row) => row.id);
}

/** Revokes every token of an agent; resolves to the ids revoked. */
export async function revokeAllOfAgent(tx: Tx, projectId: string, agentId: string): Promise<string[]> {
  const rows = await tx
    .update(tokens)
    .set({ revokedAt: sql`clock_timestamp()` })
    .where(and(eq(tokens.projectId, projectId), eq(tokens.agentId, agentId), isNull(tokens.revokedAt)))
    .returning({ id: tokens.id });
  return rows.map((row) => row.id);
}

/** What has become of a token by the time that its row is locked; a retired one was replaced by its renewal. */
export type TokenState = "in force" | "retired" | "revoked";

/** Locks a token's row until the transaction ends. */
export async function lockToken(tx: Tx, id: string): Promise<TokenState> {
  const [row] = await tx
    .select({ revokedAt: tokens.revokedAt, retiredAt: tokens.retiredAt })
    .from(tokens)
    .where(eq(tokens.id, id))
    .for("update");
  if (row === undefined || row.revokedAt !== null) return "revoked";
  return row.retiredAt === null ? "in force" : "retired";
}

/**
 * Locks the rows of an agent's tokens until the transaction ends. Who mints a renewal holds the row of the token that
 * it is for, so what follows sees every renewal there is, and none comes after.
 */
export async function lockAgentTokens(tx: Tx, projectId: string, agentId: string): Promise<void> {
  await tx
    .select({ id: tokens.id })
    .from(tokens)
    .where(and(eq(tokens.projectId, projectId), eq(tokens.agentId, agentId)))
    // One order for all, so that two who lock them do not wait for each other.
    .orderBy(asc(tokens.id))
    .for("update");
}

/** Counts one use of an enrollment token; false where it is used up, expired or revoked. */
export async function takeUse(tx: Tx, id: string): Promise<boolean> {
  const rows = await tx
    .update(tokens)
    .set({ uses: sql`${tokens.uses} + 1` })
    .where(
      and(
        eq(tokens.id, id),
        sql`${tokens.uses} < ${tokens.maxUses}`,
        isNull(tokens.revokedAt),
        sql`(${tokens.expiresAt} IS NULL OR ${tokens.expiresAt} > clock_timestamp())`,
      ),
    )
    .returning({ id: tokens.id });
  return rows.length > 0;
}

/** Notes that tokens were used, to the minute. */
export async function noteUse(db: Db, ids: string[]): Promise<void> {
  await db.update(tokens).set({ lastUsedAt: sql`clock_timestamp()` }).where(inArray(tokens.id, ids));
}

/** True once the server's own operator token was minted in this database. */
export async function hasServerToken(tx: Tx): Promise<boolean> {
  const rows = await tx.select({ id: tokens.id }).from(tokens).where(eq(tokens.server, true)).limit(1);
  return rows.length > 0;
}

/** Serialises the first start of servers on one database until the transaction ends. */
export async function lockServerTokens(tx: Tx): Promise<void> {
  await tx.execute(sql`SELECT pg_advisory_xact_lock(hashtext('drover.server-tokens'))`);
}

/** The token of an open stream, and the agent that it belongs to, if it is one's. */
export interface StreamToken {
  tokenId: string;
  projectId: string;
  agentId: string | undefined;
}

/**
 * The ids among them that open no stream any more: revoked, expired or gone. One that a renewal replaced is still good
 * for what it opened, as long as its agent has a token in force.
 */
export async function findEnded(db: Db, given: readonly StreamToken[]): Promise<string[]> {
  const rows = await db.execute<{ token_id: string }>(sql`
    SELECT given.token_id
    FROM unnest(
      ${sql.param(given.map(({ tokenId }) => tokenId))}::uuid[],
      ${sql.param(given.map(({ projectId }) => projectId))}::uuid[],
      ${sql.param(given.map(({ agentId }) => agentId ?? null))}::uuid[]
    ) AS given(token_id, project_id, agent_id)
    LEFT JOIN tokens t ON t.id = given.token_id
    WHERE t.id IS NULL OR t.revoked_at IS NOT NULL OR t.expires_at <= clock_timestamp()
      OR (t.retired_at IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM tokens newer
        WHERE newer.project_id = given.project_id AND newer.agent_id = given.agent_id
          AND newer.revoked_at IS NULL AND newer.retired_at IS NULL AND newer.activated_at IS NOT NULL
          AND (newer.expires_at IS NULL OR newer.expires_at > clock_timestamp())))`);
  return rows.map((row) => row.token_id);
}

/** Milliseconds until the agent's token in force is past a third of its life, 0 from then on; undefined: never. */
export async function readRenewalDueMs(
  db: Db,
  projectId: string,
  agentId: string,
): Promise<number | undefined> {
  const [row] = await db.execute<{ due_ms: number | null }>(sql`
    SELECT greatest(0, ceil(extract(epoch FROM
      minted_at + (expires_at - minted_at) / 3 - clock_timestamp()) * 1000))::float8 AS due_ms
    FROM tokens
    WHERE project_id = ${projectId} AND agent_id = ${agentId}
      AND revoked_at IS NULL AND retired_at IS NULL AND activated_at IS NOT NULL
    ORDER BY minted_at DESC LIMIT 1`);
  return row?.due_ms ?? undefined;
}
