import { lockAgents } from "../agents/agent-service.ts";
import type { CordonChange } from "../agents/cordon-service.ts";
import type { Tx } from "../storage/database.ts";
import { cordonBlamed } from "./blame-agents.ts";
import { endAttempts, type ReportUnhandled } from "./end-attempts.ts";
import {
  extendLoans,
  findLostHolders,
  findOverdueHolders,
  type Holder,
  type LostIn,
  lockEndedLoans,
  lockLoansOf,
  lockOverdueLoans,
  prolongLoans,
  type Spared,
} from "./loan-store.ts";
import type { Backoff } from "./task.ts";
import type { ChangeOrigin, TaskChange } from "./task-change.ts";

export type { LostIn, Spared };

/** Why tasks come back that their agents hold. */
export interface GiveBackReason {
  /** `lost` counts against the cap on losses; `returned` (the agent left, was removed or drained) counts as nothing. */
  kind: "lost" | "returned";
  /** In words; kept with each attempt. */
  message: string;
  origin: ChangeOrigin;
  /** Only tasks whose lease is past its end: for agents that may still be at work. */
  endedLeasesOnly: boolean;
}

/** What the functions here need besides a transaction. */
export interface GiveBackSettings {
  backoff: Backoff;
  report: ReportUnhandled;
}

const SERVER = { actor: "server" };

/**
 * Takes back what agents hold, set-based. The agents' rows must be locked by the transaction, or gone. The changes are
 * to be announced after the commit (`WaitingClaims.announce`).
 */
export async function giveBackTasks(
  tx: Tx,
  holders: Holder[],
  reason: GiveBackReason,
  { backoff, report }: GiveBackSettings,
): Promise<TaskChange[]> {
  if (holders.length === 0) return [];
  const loans = await lockLoansOf(tx, holders, reason.endedLeasesOnly);
  const error = { message: reason.message, context: undefined };
  return await endAttempts(
    tx,
    loans,
    { ending: { kind: reason.kind }, error, origin: reason.origin },
    backoff,
    report,
  );
}

/**
 * Takes back up to `limit` tasks whose lease their living agent let end, as losses: an agent that is `live` or `never`.
 * One that is `stale` may come back, and those that are `offline` are given back by whoever called them so.
 */
export async function returnExpiredLeases(
  tx: Tx,
  limit: number,
  spared: Spared,
  settings: GiveBackSettings,
): Promise<TaskChange[]> {
  const loans = await lockEndedLoans(tx, limit, spared);
  const error = { message: "its agent let the lease end", context: undefined };
  const cause = { ending: { kind: "lease-ended" }, error, origin: SERVER } as const;
  return await endAttempts(tx, loans, cause, settings.backoff, settings.report);
}

/**
 * Fails up to `limit` attempts that have run longer than their task allows; that burns a retry, and cordons an agent that
 * has failed too many different tasks in a row. An agent that someone else has locked keeps its own for the next time.
 */
export async function timeOutAttempts(
  tx: Tx,
  limit: number,
  spared: Spared,
  settings: GiveBackSettings,
): Promise<{ changes: TaskChange[]; cordoned: CordonChange[] }> {
  const holders = await findOverdueHolders(tx, limit, spared);
  const locked = await lockAgents(tx, holders, { waiting: false });
  const agents = holders.filter(({ agentId }) => locked.has(agentId));
  const loans = await lockOverdueLoans(tx, agents, limit, spared);
  const error = { message: "the attempt ran longer than its task allows", context: undefined };
  const cause = { ending: { kind: "timed-out" }, error, origin: SERVER } as const;
  const changes = await endAttempts(tx, loans, cause, settings.backoff, settings.report);
  return { changes, cordoned: await cordonBlamed(tx, changes) };
}

/** Agents that are offline and hold tasks whose lease is past its end, up to `limit`: theirs are to be given back. */
export async function findOfflineHolders(tx: Tx, limit: number, lostIn: LostIn): Promise<Holder[]> {
  return await findLostHolders(tx, limit, lostIn);
}

/** Lets every lease of a project last for so many ms from now at least: for agents that may come back after a return. */
export async function prolongLeases(tx: Tx, projectId: string, ms: number): Promise<void> {
  await prolongLoans(tx, projectId, ms);
}

/** Moves the end of every lease by the time for which nobody could renew any, in ms. */
export async function extendLeases(tx: Tx, byMs: number): Promise<void> {
  await extendLoans(tx, byMs);
}
