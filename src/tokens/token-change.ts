import { type AuditChange, appendAudit } from "../audit/audit-log.ts";
import type { EventDraft } from "../events/event.ts";
import { appendEvents } from "../events/outbox.ts";
import type { Role } from "../identity/caller.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { Tx } from "../storage/database.ts";

/** What happened to a token; each is an action of the audit log and a type of event. */
export interface TokenChange {
  type:
    | "token.created"
    | "token.renewed"
    | "token.activated"
    | "token.retired"
    | "token.secret_replaced"
    | "token.revoked";
  projectId: string;
  tokenId: string;
  role: Role;
  /** UUID of the agent whose it is. */
  agentId: string | undefined;
  /** Who made the change: `agent:NAME`, `token:ID` or `server`. */
  actor: string;
  reason?: string;
  requestId?: string | undefined;
}

/** Records what happened to tokens, whose rows are locked, in the transaction that makes it true. */
export async function recordTokenChanges(tx: Tx, changes: readonly TokenChange[]): Promise<void> {
  await appendAudit(tx, changes.map(auditOf));
  await appendEvents(tx, changes.map(eventOf));
}

function auditOf({ type, projectId, tokenId, role, actor, reason, requestId }: TokenChange): AuditChange {
  return {
    projectId,
    actor,
    action: type,
    subject: formatId("token", tokenId),
    ...(type === "token.created" && { field: "role", to: role }),
    ...(reason !== undefined && { reason }),
    ...(requestId !== undefined && { requestId }),
  };
}

function eventOf({ type, projectId, tokenId, role, agentId, actor, reason }: TokenChange): EventDraft {
  const data = { role, actor, ...(reason !== undefined && { reason }) };
  return { projectId, type, subject: formatId("token", tokenId), agentId, data };
}
