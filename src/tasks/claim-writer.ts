import { unauthenticated } from "../identity/unauthenticated.ts";
import type { Tracing } from "../observability/tracing.ts";
import type { Outcome } from "../runtime/coalescing-batcher.ts";
import type { Service } from "../runtime/service.ts";
import type { Db, Tx } from "../storage/database.ts";
import { shareTakers } from "./claim-store.ts";
import { GatheredCalls, type SentCall } from "./gathered-calls.ts";
import { type AdmittedClaim, lendDue } from "./lend-due.ts";
import type { Offer } from "./match-task.ts";
import { type ClaimBar, findClaimBar } from "./may-claim.ts";
import { planRounds } from "./plan-rounds.ts";
import { takeTogether } from "./take-together.ts";
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

/** Undefined: nothing was decided, and the claim needs a transaction of its own. */
type Answer = { kind: "lent"; claimed: Claimed } | { kind: "barred"; bar: ClaimBar } | undefined;

/**
 * Lends tasks to agents of all doors and streams, whose claims are gathered in batches; each is answered after the commit
 * that holds its loans. It waits for no lock: a claim whose agent somebody has locked is left to whoever sent it, and so
 * is every claim of a batch that fails, since that may be the fault of any.
 */
export class ClaimWriter implements Service {
  readonly #calls: GatheredCalls<SentClaim, Claimed | undefined>;

  /** `announce` hears of loans once they are committed. */
  constructor(
    db: Db,
    rules: TaskRules,
    announce: (changes: readonly TaskChange[]) => void,
    tracing?: Tracing,
  ) {
    this.#calls = new GatheredCalls({
      words: "claims",
      keyOf: ({ caller }) => caller.agentId,
      async take(sent, settle) {
        const waiting = sent.map((claim, place) => ({
          place,
          claim,
          projectId: claim.caller.projectId,
          max: claim.max,
        }));
        for (const round of planRounds(waiting, MOST_TASKS)) {
          const claims = round.map(({ claim }) => claim);
          const { revoked, result } = await takeTogether(db, claims, (tx, left) => serveAll(tx, left, rules));
          announce(result?.changes ?? []);
          for (const { place, claim } of round) {
            if (revoked.has(claim.caller)) settle(place, Promise.reject(unauthenticated()));
            else settle(place, outcomeOf(result?.answers.get(claim)));
          }
        }
      },
      tracing,
    });
  }

  async start(): Promise<void> {
    await this.#calls.start();
  }

  async stop(): Promise<void> {
    await this.#calls.stop();
  }

  /**
   * Resolves when the loans are durable, and to undefined where nothing was decided: the claim needs a transaction of its
   * own. Throws AGENT_IN_ERROR, AGENT_CORDONED, UNAUTHENTICATED, RESOURCE_EXHAUSTED, UNAVAILABLE.
   */
  async submit(claim: SentClaim): Promise<Claimed | undefined> {
    return await this.#calls.submit(claim);
  }
}

type AdmittedSent = AdmittedClaim & { sent: SentClaim };

async function serveAll(tx: Tx, sent: readonly SentClaim[], { leaseMs }: TaskRules) {
  const answers = new Map<SentClaim, Answer>();
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
    else answers.set(claim, { kind: "barred", bar });
  }
  const lent = await lendDue(tx, admitted, leaseMs);
  for (const [{ sent: claim, taker }, { tasks, isCut }] of lent)
    if (!isCut) answers.set(claim, { kind: "lent", claimed: { tasks, offer: taker.offer } });
  return { answers, changes: [...lent.values()].flatMap(({ changes }) => changes) };
}

function outcomeOf(answer: Answer): Outcome<Claimed | undefined> | Promise<never> {
  if (answer?.kind === "barred") return Promise.reject(refusalOfBar(answer.bar));
  return { kind: "done", result: answer?.claimed };
}
