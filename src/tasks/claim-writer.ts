import type { Tracing } from "../observability/tracing.ts";
import type { Refusal } from "../runtime/refusal.ts";
import type { Db, Tx } from "../storage/database.ts";
import { shareTakers } from "./claim-store.ts";
import { GatheredCalls, type SentCall } from "./gathered-calls.ts";
import { type AdmittedClaim, lendDue } from "./lend-due.ts";
import type { Offer } from "./match-task.ts";
import { findClaimBar } from "./may-claim.ts";
import { planRounds } from "./plan-rounds.ts";
import type { TaskChange } from "./task-change.ts";
import { refusalOfBar } from "./task-refusals.ts";
import type { TaskRules } from "./task-rules.ts";
import type { TaskRecord } from "./task-store.ts";

/** So many tasks one transaction lends: those who come behind it wait for about as long as a claim of a thousand takes. */
const MOST_TASKS = 1_000;

/** An agent's wish for tasks, to be answered at once. */
export interface SentClaim extends SentCall {
  /** Empty: any kind. */
  readonly kinds: readonly string[];
  readonly max: number;
}

/** What a claim brought, and what its agent had to offer for it. */
export interface Claimed {
  readonly tasks: TaskRecord[];
  readonly offer: Offer;
}

/**
 * Lends tasks to agents of all doors and streams. It waits for no lock: a claim whose agent somebody has locked is left to
 * whoever sent it. A claim is refused with AGENT_IN_ERROR and AGENT_CORDONED.
 */
export class ClaimWriter extends GatheredCalls<SentClaim, Claimed> {
  /** `announce` hears of loans once they are committed. */
  constructor(
    db: Db,
    rules: TaskRules,
    announce: (changes: readonly TaskChange[]) => void,
    tracing?: Tracing,
  ) {
    super({
      db,
      words: "claims",
      keyOf: ({ caller }) => caller.agentId,
      part: inRounds,
      take: (tx, sent) => serveAll(tx, sent, rules),
      announce,
      tracing,
    });
  }
}

function inRounds(sent: readonly SentClaim[]): SentClaim[][] {
  const waiting = sent.map((claim) => ({ claim, projectId: claim.caller.projectId, max: claim.max }));
  return planRounds(waiting, MOST_TASKS).map((round) => round.map(({ claim }) => claim));
}

type AdmittedSent = AdmittedClaim & { sent: SentClaim };

async function serveAll(tx: Tx, sent: readonly SentClaim[], { leaseMs }: TaskRules) {
  const answers = new Map<SentClaim, Claimed | Refusal>();
  const admitted: AdmittedSent[] = [];
  const takers = await shareTakers(
    tx,
    sent.map(({ caller }) => caller),
  );
  for (const claim of sent) {
    const { caller, kinds, max } = claim;
    const { projectId, agentId } = caller;
    const taker = takers.get(agentId);
    if (taker === undefined) continue;
    const bar = findClaimBar(taker);
    if (bar === undefined)
      admitted.push({ projectId, agentId, taker, kinds, max, origin: { actor: caller.actor }, sent: claim });
    else answers.set(claim, refusalOfBar(bar));
  }
  const lent = await lendDue(tx, admitted, leaseMs);
  for (const [{ sent: claim, taker }, { tasks, isCut }] of lent)
    if (!isCut) answers.set(claim, { tasks, offer: taker.offer });
  return { answers, changes: [...lent.values()].flatMap(({ changes }) => changes) };
}
