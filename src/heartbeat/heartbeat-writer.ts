import { findRevokedCallers } from "../identity/confirm-caller.ts";
import { unauthenticated } from "../identity/unauthenticated.ts";
import { type CallScope, callHere, inCall } from "../observability/call-scope.ts";
import type { Origin, Tracing } from "../observability/tracing.ts";
import { type Batched, CoalescingBatcher, type Outcome, type Settle } from "../runtime/coalescing-batcher.ts";
import { Lanes } from "../runtime/lanes.ts";
import { Refusal } from "../runtime/refusal.ts";
import type { Service } from "../runtime/service.ts";
import { type Database, type Db, inTransaction } from "../storage/database.ts";
import { DatabaseUnavailable, isGivenUp } from "../storage/database-error.ts";
import type { Beat, HeartbeatAnswer, HeartbeatListener } from "./heartbeat.ts";
import { type FoldedBeat, foldsInto, type PlainBeat, plainBeatOf } from "./plain-beat.ts";
import { type BeatOutcome, type TakenBeat, type TakeParts, takeBeats } from "./take-beats.ts";
import { NotPlain, takePlainBeats } from "./take-plain-beats.ts";

/** The first heartbeat of a batch waits so long for others. */
const GATHER_MS = 2;
const BATCH = 500;
const BATCHES_AT_ONCE = 2;
/** Some seconds' worth of heartbeats; who comes after them is told to come again. */
const CAPACITY = 20_000;
const RETRY_AFTER_MS = 1_000;
/** A plain batch waits no longer for a row that somebody holds: that agent is then taken the careful way, by itself. */
const LOCK_TIMEOUT_MS = 100;
const CAREFUL_LANES = 3;
const CAREFUL_BATCH = 100;
/** Each holds a connection while it waits for one agent's lock. */
const PATIENT_LANES = 3;

/** Hears how the writing goes; each is called for every heartbeat or batch, and must cost next to nothing. */
export interface HeartbeatMeasures {
  /** A heartbeat was committed, so many seconds after it came. */
  acknowledged(seconds: number): void;
  refused(): void;
  flushed(size: number): void;
}

interface Submitted {
  readonly beat: Beat;
  readonly plain: PlainBeat | undefined;
  readonly origin: Origin | undefined;
  readonly call: CallScope | undefined;
}

/** A beat on its careful way. */
interface Job {
  readonly beat: Beat;
  readonly origin: Origin | undefined;
  readonly call: CallScope | undefined;
  readonly resolve: (outcome: Outcome<HeartbeatAnswer>) => void;
  readonly reject: (error: unknown) => void;
}

/** Beats whose tokens were revoked while they waited: the transaction must not commit them. */
class Revoked extends Error {
  readonly callers: ReadonlySet<unknown>;

  constructor(callers: ReadonlySet<unknown>) {
    super("tokens were revoked while their heartbeats waited");
    this.callers = callers;
  }
}

const APART = { kind: "apart" } as const;

/**
 * Writes the heartbeats of all doors and streams, gathered in batches; each is answered after the commit that holds it.
 * Nearly all of them are taken by one statement. What that leaves is taken the careful way, set by set; an agent whose row
 * somebody has locked waits for that by itself; and a beat that makes its set fail is found by halving the set.
 */
export class HeartbeatWriter implements Service {
  readonly #plain: Database;
  readonly #careful: Database;
  readonly #parts: TakeParts;
  readonly #listener: HeartbeatListener;
  readonly #measures: HeartbeatMeasures | undefined;
  readonly #tracing: Tracing | undefined;
  readonly #batcher: CoalescingBatcher<Submitted, HeartbeatAnswer>;
  readonly #carefulLanes: Lanes<Job>;
  readonly #patientLanes: Lanes<Job>;

  /** Opens connections of its own beside those of `database`, which nothing else can keep busy. */
  constructor(
    database: Database,
    parts: TakeParts,
    listener: HeartbeatListener,
    measures?: HeartbeatMeasures,
    tracing?: Tracing,
  ) {
    this.#measures = measures;
    this.#tracing = tracing;
    this.#plain = database.apart({ maxConnections: BATCHES_AT_ONCE, lockTimeoutMs: LOCK_TIMEOUT_MS });
    this.#careful = database.apart({ maxConnections: CAREFUL_LANES + PATIENT_LANES });
    this.#parts = parts;
    this.#listener = listener;
    this.#carefulLanes = new Lanes(CAREFUL_LANES, CAREFUL_BATCH, (jobs) => this.#takeJobs(jobs, false));
    this.#patientLanes = new Lanes(PATIENT_LANES, 1, (jobs) => this.#takeJobs(jobs, true));
    this.#batcher = new CoalescingBatcher({
      keyOf: ({ beat }) => beat.caller.agentId,
      folds: (earlier, later) =>
        earlier.plain !== undefined && later.plain !== undefined && foldsInto(earlier.plain, later.plain),
      flush: (batch, settle) => inCall(undefined, () => this.#flushTraced(batch, settle)),
      gatherMs: GATHER_MS,
      maxBatch: BATCH,
      maxInFlight: BATCHES_AT_ONCE,
      capacity: CAPACITY,
      overloaded: () =>
        new Refusal("resource-exhausted", "more heartbeats wait than can be written soon", {
          retryAfterMs: RETRY_AFTER_MS,
        }),
      stopped: () => new DatabaseUnavailable("the server is stopping", "not-committed"),
    });
  }

  /** Heartbeats that wait or are being written. */
  get queued(): number {
    return this.#batcher.size;
  }

  /** What the connections of its own do. */
  get connections(): Database["use"] {
    const [plain, careful] = [this.#plain.use, this.#careful.use];
    return {
      lent: plain.lent + careful.lent,
      idle: plain.idle + careful.idle,
      waiting: plain.waiting + careful.waiting,
    };
  }

  async start(): Promise<void> {
    await this.#batcher.start();
  }

  /** Writes what was taken, then closes its connections. */
  async stop(): Promise<void> {
    await this.#batcher.stop();
    await Promise.all([this.#plain.close(), this.#careful.close()]);
  }

  /** Resolves when the beat is durable. Throws NOT_FOUND, ABORTED, UNAUTHENTICATED, RESOURCE_EXHAUSTED, UNAVAILABLE. */
  submit(beat: Beat): Promise<HeartbeatAnswer> {
    const answer = this.#batcher.submit({
      beat,
      plain: plainBeatOf(beat),
      origin: this.#tracing?.here(),
      call: callHere(),
    });
    if (this.#measures !== undefined) void this.#measure(answer, this.#measures);
    return answer;
  }

  /** Beside the answer's way, which it does not make longer. */
  async #measure(answer: Promise<HeartbeatAnswer>, measures: HeartbeatMeasures): Promise<void> {
    const cameMs = performance.now();
    try {
      await answer;
      measures.acknowledged((performance.now() - cameMs) / 1000);
    } catch {
      // Whoever waits for the answer hears of it.
      measures.refused();
    }
  }

  #flushTraced(batch: readonly Batched<Submitted>[], settle: Settle<HeartbeatAnswer>): Promise<void> {
    if (this.#tracing === undefined) return this.#flush(batch, settle);
    const origins = batch.map(({ item }) => item.origin);
    return this.#tracing.together("heartbeats", origins, () => this.#flush(batch, settle));
  }

  #takeJobs(jobs: readonly Job[], waiting: boolean): Promise<void> {
    const [first] = jobs;
    return inCall(jobs.length === 1 ? first?.call : undefined, () => this.#takeTraced(jobs, waiting));
  }

  #takeTraced(jobs: readonly Job[], waiting: boolean): Promise<void> {
    if (this.#tracing === undefined) return this.#takeSet(jobs, waiting);
    const origins = jobs.map(({ origin }) => origin);
    return this.#tracing.together("heartbeats with care", origins, () => this.#takeSet(jobs, waiting));
  }

  async #flush(batch: readonly Batched<Submitted>[], settle: Settle<HeartbeatAnswer>): Promise<void> {
    this.#measures?.flushed(batch.length);
    const plain = batch.flatMap(foldedOf);
    const answers = plain.length === 0 ? NO_ANSWERS : await this.#takePlain(plain);
    const careful: Job[] = [];
    for (const [place, { item, folded }] of batch.entries()) {
      const answer = item.plain && answers.get(item.plain);
      if (answer !== undefined) settle(place, { kind: "done", result: answer });
      else if (folded.length > 0) settle(place, APART);
      else {
        const { promise, resolve, reject } = Promise.withResolvers<Outcome<HeartbeatAnswer>>();
        careful.push({ beat: item.beat, origin: item.origin, call: item.call, resolve, reject });
        settle(place, promise);
      }
    }
    this.#carefulLanes.add(careful);
  }

  /** The answers of those beats that were taken; throws where the database cannot be reached. */
  async #takePlain(plain: readonly FoldedBeat[]): Promise<ReadonlyMap<PlainBeat, HeartbeatAnswer>> {
    let left = plain;
    while (left.length > 0) {
      try {
        const taken = await inTransaction(this.#plain.db, (tx) =>
          takePlainBeats(tx, left, this.#parts.tasks),
        );
        return new Map(
          left.flatMap((one, place) => (taken[place] === undefined ? [] : [[one.plain, taken[place]]])),
        );
      } catch (error) {
        if (error instanceof NotPlain) left = left.filter((one) => !error.beats.has(one));
        else if (isLost(error)) throw error;
        // One of them is locked, or cannot be taken at all: the careful way finds out which.
        else return NO_ANSWERS;
      }
    }
    return NO_ANSWERS;
  }

  /** Takes beats the careful way, all in one transaction. Never rejects. */
  async #takeSet(jobs: readonly Job[], waiting: boolean): Promise<void> {
    if (jobs.length === 0) return;
    let outcomes: BeatOutcome[];
    try {
      outcomes = await takeCommitted(this.#careful.db, jobs, this.#parts, waiting);
    } catch (error) {
      await this.#takeRest(jobs, waiting, error);
      return;
    }
    for (const [place, job] of jobs.entries()) {
      const outcome = outcomes[place];
      if (outcome === undefined) job.reject(new Error("a heartbeat has no outcome"));
      else inCall(job.call, () => this.#conclude(job, outcome));
    }
  }

  /** After a set failed: answers those who are the cause, and takes the others anew. */
  async #takeRest(jobs: readonly Job[], waiting: boolean, error: unknown): Promise<void> {
    if (error instanceof Revoked) {
      const isRevoked = ({ beat }: Job) => error.callers.has(beat.caller);
      for (const job of jobs.filter(isRevoked)) job.reject(unauthenticated());
      await this.#takeSet(
        jobs.filter((job) => !isRevoked(job)),
        waiting,
      );
    } else if (jobs.length === 1 || isLost(error)) {
      for (const job of jobs) job.reject(error);
    } else {
      const middle = Math.ceil(jobs.length / 2);
      await this.#takeSet(jobs.slice(0, middle), waiting);
      await this.#takeSet(jobs.slice(middle), waiting);
    }
  }

  #conclude(job: Job, outcome: BeatOutcome): void {
    switch (outcome.kind) {
      case "taken":
        this.#tell(job.beat, outcome);
        job.resolve({ kind: "done", result: outcome.answer });
        break;
      case "refused":
        if (outcome.refusal.reason === "AGENT_REMOVED") this.#listener.agentGone(job.beat.caller);
        job.reject(outcome.refusal);
        break;
      case "blocked":
        this.#patientLanes.add([job]);
        break;
    }
  }

  /** After the commit, never before: who hears of something can rely on it. */
  #tell({ caller }: Beat, { answer, changes, began, dropped }: TakenBeat): void {
    this.#parts.tasks.announce(changes);
    if (began !== undefined) this.#listener.sessionBegan(caller, began);
    if (dropped !== undefined) this.#listener.linkDropped(caller, dropped);
    const { transition, duplicate } = answer;
    if (transition === undefined || duplicate) return;
    const { projectId, project, agentId, agentName: agent } = caller;
    this.#listener.transition({ projectId, project, agentId, agent, ...transition });
  }
}

const NO_ANSWERS: ReadonlyMap<PlainBeat, HeartbeatAnswer> = new Map();

async function takeCommitted(
  db: Db,
  jobs: readonly Job[],
  parts: TakeParts,
  waiting: boolean,
): Promise<BeatOutcome[]> {
  const beats = jobs.map(({ beat }) => beat);
  return await inTransaction(db, async (tx) => {
    const outcomes = await takeBeats(tx, beats, parts, { waiting });
    const revoked = await findRevokedCallers(
      tx,
      beats.map(({ caller }) => caller),
    );
    if (revoked.size > 0) throw new Revoked(revoked);
    return outcomes;
  });
}

function foldedOf({ item: { plain }, folded }: Batched<Submitted>): FoldedBeat[] {
  if (plain === undefined) return [];
  const [first = plain.beat] = folded.map(({ beat }) => beat);
  return [{ plain, firstSequence: first.heartbeat.session?.sequence }];
}

/** The database is away; what it gave up for a reason of its own may be one beat's fault. */
function isLost(error: unknown): boolean {
  return error instanceof DatabaseUnavailable && !isGivenUp(error);
}
