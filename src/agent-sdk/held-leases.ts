import { fromJson, type MessageInitShape } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import type {
  CurrentTaskReportSchema,
  HeldLeaseSchema,
  LeaseRenewal,
} from "../../gen/drover/v1/agent_service_pb.js";
import type { Lease, Task } from "../../gen/drover/v1/task_pb.js";
import type { CallRefusal } from "./agent-error.ts";
import { fittingMessage } from "./json-limits.ts";
import { monotonicMs } from "./monotonic-clock.ts";
import type { SessionRequests } from "./session-requests.ts";
import type { FromSession, LeaseKey, LeaseTerm, Outcome } from "./thread-messages.ts";
import { msOf, workTaskOf } from "./work-task.ts";

/**
 * Where one loan of one task stands:
 *
 *   offered ──accepted──▶ held ──outcome──▶ ending ──answered──▶ (gone)
 *      │                   │                   ▲
 *      └──refused──▶(gone) └──lost, cancelled──┤ (an outcome that was there already)
 *                                  ▼           │
 *                               stopping ──────┘──dropped──▶ (gone)
 */
type Phase = "offered" | "held" | "stopping" | "ending";

interface Held {
  readonly lease: LeaseKey;
  phase: Phase;
  term: LeaseTerm | undefined;
  progress: number;
  detail: string;
  /** Progress that has not been sent. */
  unsaid: boolean;
  saying: boolean;
  /** Before this time no more progress is sent: a task may report far more often than anyone reads. */
  quietUntilMs: number;
  timer: NodeJS.Timeout | undefined;
}

const PROGRESS_EVERY_MS = 1000;
const DETAIL_CHARACTERS = 1024;

/** The leases of a session: accepts them, renews them, tells how their tasks get on and how they ended. */
export class HeldLeases {
  readonly #held = new Map<string, Held>();
  readonly #requests: SessionRequests;
  readonly #tell: (message: FromSession) => void;
  readonly #onRoom: () => void;

  /** `onRoom` is called whenever a lease is gone. */
  constructor(requests: SessionRequests, tell: (message: FromSession) => void, onRoom: () => void) {
    this.#requests = requests;
    this.#tell = tell;
    this.#onRoom = onRoom;
  }

  /** How many slots are taken. */
  get size(): number {
    return this.#held.size;
  }

  /** Accepts a task that the server assigned; work begins only when the server has confirmed that. */
  offer(task: Task): void {
    if (task.lease === undefined) return;
    const lease: LeaseKey = { taskId: task.id, leaseEpoch: task.lease.epoch };
    if (this.#held.has(keyOf(lease))) return;
    const held: Held = {
      lease,
      phase: "offered",
      term: undefined,
      progress: 0,
      detail: "",
      unsaid: false,
      saying: false,
      quietUntilMs: 0,
      timer: undefined,
    };
    this.#held.set(keyOf(lease), held);
    this.#requests.ask({
      outlives: "stream",
      say: () => ({ case: "taskUpdate", value: { task: task.id, leaseEpoch: lease.leaseEpoch } }),
      answered: (answer, sentAtMs) => {
        const term = answer.case === "taskUpdate" ? termOf(answer.value.lease, sentAtMs) : undefined;
        if (term === undefined || term.endsAtMs <= monotonicMs()) {
          this.#remove(held);
          return;
        }
        held.phase = "held";
        held.term = term;
        this.#tell({ kind: "task", task: workTaskOf(task), lease, term });
      },
      refused: (refusal) => {
        this.#tell({ kind: "notice", text: `${task.id} was not begun: ${refusal.message}` });
        this.#remove(held);
      },
    });
  }

  /** What a heartbeat says of the leases: the oldest as the task at hand, the others to be renewed. */
  report(): {
    currentTask: MessageInitShape<typeof CurrentTaskReportSchema> | undefined;
    heldLeases: MessageInitShape<typeof HeldLeaseSchema>[];
  } {
    const now = monotonicMs();
    // A lease past its end is not revived: its work has been told to stop.
    const valid = [...this.#held.values()].filter(
      ({ phase, term }) => (phase === "held" || phase === "ending") && (term?.endsAtMs ?? 0) > now,
    );
    const current = valid.find(({ phase }) => phase === "held");
    return {
      currentTask: current && { ...current.lease, progress: current.progress, detail: current.detail },
      heldLeases: valid.filter((held) => held !== current).map(({ lease }) => ({ ...lease })),
    };
  }

  /** Takes a heartbeat's word on the leases. */
  renewed(renewals: readonly LeaseRenewal[], sentAtMs: number): void {
    for (const { taskId, leaseEpoch, renewed, remaining } of renewals) {
      const held = this.#held.get(keyOf({ taskId, leaseEpoch }));
      if (held === undefined || held.phase === "stopping") continue;
      if (renewed) this.#extend(held, sentAtMs, msOf(remaining));
      else this.#lose(held, "the server has taken the lease back");
    }
  }

  /** A task gets on; of what comes faster than it is sent only the newest is sent. */
  progress(lease: LeaseKey, progress: number, detail: string | undefined): void {
    const held = this.#held.get(keyOf(lease));
    if (held?.phase !== "held") return;
    held.progress = progress;
    held.detail = (detail ?? held.detail).slice(0, DETAIL_CHARACTERS).toWellFormed();
    held.unsaid = true;
    this.#sayProgress(held);
  }

  /** Sends how a task ended, again until it is answered. Whether it still counts is for the server to say. */
  finish(lease: LeaseKey, outcome: Outcome): void {
    const held = this.#held.get(keyOf(lease));
    if (held === undefined || held.phase === "ending") return;
    held.phase = "ending";
    clearTimeout(held.timer);
    this.#end(held, outcome);
  }

  /** The work has stopped without an outcome. */
  drop(lease: LeaseKey): void {
    const held = this.#held.get(keyOf(lease));
    if (held !== undefined && held.phase !== "ending") this.#remove(held);
  }

  cancel(taskId: string, why: string): void {
    for (const held of this.#held.values()) {
      if (held.lease.taskId !== taskId || held.phase !== "held") continue;
      held.phase = "stopping";
      this.#tell({ kind: "cancelled", taskId, why });
    }
  }

  loseAll(why: string): void {
    for (const held of [...this.#held.values()]) this.#lose(held, why);
  }

  #end(held: Held, outcome: Outcome): void {
    this.#requests.ask({
      outlives: "stream",
      say: () => sayingOf(held.lease, outcome),
      answered: () => this.#settle(held, undefined),
      refused: (refusal) => {
        // A result that cannot be taken would otherwise keep its task lent until the lease ends, and then again.
        if (outcome.kind === "complete" && refusal.code === Code.InvalidArgument) {
          const message = fittingMessage(`The result was refused: ${refusal.message}`);
          this.#end(held, { kind: "fail", message, context: undefined, retryable: false });
        } else this.#settle(held, refusal);
      },
    });
  }

  #settle(held: Held, refusal: CallRefusal | undefined): void {
    this.#tell({ kind: "settled", lease: held.lease, refusal });
    this.#remove(held);
  }

  #sayProgress(held: Held): void {
    if (held.saying || held.timer !== undefined || !held.unsaid || held.phase !== "held") return;
    const waitMs = held.quietUntilMs - monotonicMs();
    if (waitMs > 0) {
      held.timer = setTimeout(() => {
        held.timer = undefined;
        this.#sayProgress(held);
      }, waitMs);
      return;
    }
    held.saying = true;
    held.unsaid = false;
    held.quietUntilMs = monotonicMs() + PROGRESS_EVERY_MS;
    const done = () => {
      held.saying = false;
      this.#sayProgress(held);
    };
    this.#requests.ask({
      outlives: "stream",
      say: () => ({
        case: "taskUpdate",
        value: {
          task: held.lease.taskId,
          leaseEpoch: held.lease.leaseEpoch,
          progress: held.progress,
          detail: held.detail,
        },
      }),
      answered: (answer, sentAtMs) => {
        if (answer.case === "taskUpdate") this.#extend(held, sentAtMs, msOf(answer.value.lease?.remaining));
        done();
      },
      refused: (refusal) => {
        if (refusal.code === Code.FailedPrecondition || refusal.code === Code.NotFound)
          this.#lose(held, refusal.message);
        else this.#tell({ kind: "notice", text: `Progress was refused: ${refusal.message}` });
        done();
      },
    });
  }

  #extend(held: Held, sentAtMs: number, lengthMs: number): void {
    if (held.phase !== "held" && held.phase !== "ending") return;
    const endsAtMs = sentAtMs + lengthMs;
    // Answers of two kinds may cross; the later promise holds.
    if (held.term === undefined || endsAtMs <= held.term.endsAtMs) return;
    held.term = { endsAtMs, lengthMs };
    this.#tell({ kind: "renewed", lease: held.lease, term: held.term });
  }

  #lose(held: Held, why: string): void {
    if (held.phase !== "held") return;
    held.phase = "stopping";
    this.#tell({ kind: "lost", lease: held.lease, why });
  }

  #remove(held: Held): void {
    clearTimeout(held.timer);
    if (this.#held.delete(keyOf(held.lease))) this.#onRoom();
  }
}

function sayingOf({ taskId, leaseEpoch }: LeaseKey, outcome: Outcome) {
  if (outcome.kind === "complete") {
    const result = fromJson(ValueSchema, outcome.result);
    return { case: "taskComplete" as const, value: { task: taskId, leaseEpoch, result } };
  }
  const { message, context, retryable } = outcome;
  const error = context === undefined ? { message } : { message, context };
  return { case: "taskFail" as const, value: { task: taskId, leaseEpoch, error, retryable } };
}

function termOf(lease: Lease | undefined, sentAtMs: number): LeaseTerm {
  const lengthMs = msOf(lease?.remaining);
  return { endsAtMs: sentAtMs + lengthMs, lengthMs };
}

function keyOf({ taskId, leaseEpoch }: LeaseKey): string {
  return `${taskId}/${leaseEpoch}`;
}
