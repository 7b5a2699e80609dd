import type { MessageInitShape } from "@bufbuild/protobuf";
import fc from "fast-check";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import type { HeartbeatRequestSchema, HeartbeatResponse } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { DOORS, type DoorName } from "../helpers/fleet-api.ts";

type Reported = "online" | "busy" | "benchmarked" | "error";
type Status = Reported | "pending";

/** A heartbeat as the model sees it. */
export interface Beat {
  door: DoorName;
  /** Number of the process's run; its boot_id is made of it. */
  boot: number;
  sequence: number;
  status: Reported;
  error: "none" | "warning" | "fatal";
}

export const beats: fc.Arbitrary<Beat> = fc.record({
  door: fc.constantFrom(...DOORS),
  boot: fc.integer({ min: 0, max: 2 }),
  sequence: fc.integer({ min: 0, max: 6 }),
  status: fc.constantFrom("online", "busy", "benchmarked", "error"),
  error: fc.constantFrom("none", "none", "warning", "fatal"),
});

const statusNumbers = {
  pending: AgentStatus.PENDING,
  online: AgentStatus.ONLINE,
  busy: AgentStatus.BUSY,
  benchmarked: AgentStatus.BENCHMARKED,
  error: AgentStatus.ERROR,
} satisfies Record<Status, AgentStatus>;

export function requestOf(beat: Beat): MessageInitShape<typeof HeartbeatRequestSchema> {
  const { boot, sequence, status, error } = beat;
  const severity = error === "fatal" ? Severity.FATAL : Severity.WARNING;
  return {
    status: statusNumbers[status],
    gauges: { at: placeOf(beat) },
    session: { bootId: `boot-${boot}`, sequence: BigInt(sequence) },
    ...(error !== "none" && { error: { severity, message: `${error} of ${boot} at ${sequence}` } }),
  };
}

/** A number that tells a heartbeat from every other one of its agent. */
export function placeOf({ boot, sequence }: Beat): number {
  return boot * 100 + sequence;
}

/** What an agent is after its heartbeats, and what the model expects to be answered. */
export type Expected =
  | { superseded: true }
  | { superseded: false; status: Status; duplicate: boolean; transition: [Status, Status] | undefined };

interface Recorded {
  status: Status;
  transition: [Status, Status] | undefined;
}

/** The rules of sessions and sequences in their plainest form. */
export class HeartbeatModel {
  status: Status = "pending";
  errors = 0;
  statusChanges = 0;
  epoch = 0;
  sequence = -1;
  /** Place of the newest beat, which is what the agent's gauges must hold. */
  place: number | null = null;
  readonly #epochs = new Map<number, number>();
  readonly #records = new Map<string, Recorded>();

  take(beat: Beat): Expected {
    const known = this.#epochs.get(beat.boot);
    if (known !== undefined && known < this.epoch) return { superseded: true };
    const epoch = known ?? this.epoch + 1;
    const key = `${epoch}.${beat.sequence}`;
    if (known !== undefined && beat.sequence <= this.sequence) return this.#takeLate(beat, key);
    this.#epochs.set(beat.boot, epoch);
    this.epoch = epoch;
    this.sequence = beat.sequence;
    this.place = placeOf(beat);
    const from = this.status;
    const to: Status = beat.error === "fatal" ? "error" : beat.status;
    const transition: [Status, Status] | undefined = from === to ? undefined : [from, to];
    this.status = to;
    if (beat.error !== "none") this.errors += 1;
    if (transition !== undefined) this.statusChanges += 1;
    if (transition !== undefined || beat.error !== "none") this.#records.set(key, { status: to, transition });
    return { superseded: false, status: to, duplicate: false, transition };
  }

  #takeLate(beat: Beat, key: string): Expected {
    const recorded = this.#records.get(key);
    if (recorded !== undefined) return { superseded: false, duplicate: true, ...recorded };
    const answer = { superseded: false as const, status: this.status, transition: undefined };
    if (beat.error === "none") return { ...answer, duplicate: true };
    this.errors += 1;
    this.#records.set(key, { status: this.status, transition: undefined });
    return { ...answer, duplicate: false };
  }
}

/** The part of an answer that the model speaks of. */
export function answerIn(response: HeartbeatResponse): Expected {
  const { agentStatus, duplicate, transition } = response;
  return {
    superseded: false,
    status: nameOf(agentStatus),
    duplicate,
    transition: transition && [nameOf(transition.from), nameOf(transition.to)],
  };
}

function nameOf(status: AgentStatus): Status {
  for (const [name, number] of Object.entries(statusNumbers)) if (number === status) return name as Status;
  throw new Error(`the answer holds status ${status}`);
}
