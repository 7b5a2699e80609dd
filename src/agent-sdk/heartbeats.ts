import type { JsonObject } from "@bufbuild/protobuf";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import type { HeartbeatResponse } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import type { CallRefusal } from "./agent-error.ts";
import type { AgentProfile } from "./connection-options.ts";
import type { HeldLeases } from "./held-leases.ts";
import { monotonicMs } from "./monotonic-clock.ts";
import type { Saying, SessionRequests } from "./session-requests.ts";
import { msOf } from "./work-task.ts";

/** A fatal error on its way, and who waits for what became of the tasks. */
export interface FatalError {
  readonly message: string;
  readonly context: JsonObject | undefined;
  readonly answered: (answer: HeartbeatResponse) => void;
  readonly refused: (refusal: CallRefusal) => void;
}

export interface HeartbeatsOptions {
  readonly bootId: string;
  readonly profile: AgentProfile;
  readonly requests: SessionRequests;
  readonly leases: HeldLeases;
  /** Every answer, for what it brings besides. */
  readonly answered: (answer: HeartbeatResponse) => void;
  readonly refused: (refusal: CallRefusal) => void;
}

// No server that means well asks for less or for more.
const SHORTEST_MS = 20;
const LONGEST_MS = 3_600_000;

/** Beats at the interval that the server dictates; a beat that was not answered is repeated under its sequence. */
export class Heartbeats {
  readonly #options: HeartbeatsOptions;
  readonly #fatals: FatalError[] = [];
  #sequence = 0n;
  #inFlight = false;
  #live = false;
  #inError = false;
  #tellAll = true;
  #gauges: Readonly<Record<string, number>> | undefined;
  #intervalMs = 0;
  #nextAtMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: HeartbeatsOptions) {
    this.#options = options;
  }

  get intervalMs(): number {
    return this.#intervalMs;
  }

  /** A stream is open. The first beat of a session goes out at once, later ones when they are due. */
  begin(intervalMs: number): void {
    this.#live = true;
    this.#intervalMs = clamp(intervalMs);
    this.#nextAtMs = Math.min(this.#nextAtMs, monotonicMs() + this.#intervalMs);
    this.#arm();
  }

  /** The stream is gone. */
  pause(): void {
    this.#live = false;
    clearTimeout(this.#timer);
  }

  /** Sends a fatal error with a beat of its own, at once; the agent stays in error until it recovers. */
  fail(error: FatalError): void {
    this.#fatals.push(error);
    this.#inError = true;
    this.#nextAtMs = 0;
    this.#arm();
  }

  recover(): void {
    this.#inError = false;
    this.#nextAtMs = 0;
    this.#arm();
  }

  /** Tells all of the agent with the next beat, which goes out at once unless one is on its way. */
  tellAll(): void {
    this.#tellAll = true;
    this.#nextAtMs = 0;
    this.#arm();
  }

  set gauges(gauges: Readonly<Record<string, number>>) {
    this.#gauges = gauges;
  }

  #arm(): void {
    clearTimeout(this.#timer);
    if (!this.#live || this.#inFlight) return;
    this.#timer = setTimeout(() => this.#beat(), Math.max(0, this.#nextAtMs - monotonicMs()));
  }

  #beat(): void {
    this.#sequence += 1n;
    this.#inFlight = true;
    const fatal = this.#fatals.shift();
    const tellsAll = this.#tellAll;
    const said = { sequence: this.#sequence, fatal, tellsAll, gauges: this.#gauges, inError: this.#inError };
    const done = (nextAtMs: number) => {
      this.#inFlight = false;
      this.#nextAtMs = this.#fatals.length > 0 ? 0 : nextAtMs;
      this.#arm();
    };
    this.#options.requests.ask({
      outlives: "stream",
      say: () => this.#saying(said),
      answered: (answer, sentAtMs) => {
        if (answer.case !== "heartbeat") {
          done(sentAtMs + this.#intervalMs);
          return;
        }
        const { value } = answer;
        if (tellsAll) this.#tellAll = false;
        if (value.reportFullState) this.#tellAll = true;
        const dictatedMs = msOf(value.nextHeartbeat);
        if (dictatedMs > 0) this.#intervalMs = clamp(dictatedMs);
        this.#options.leases.renewed(value.leases, sentAtMs);
        fatal?.answered(value);
        this.#options.answered(value);
        done(sentAtMs + this.#intervalMs);
      },
      refused: (refusal) => {
        fatal?.refused(refusal);
        this.#options.refused(refusal);
        done(monotonicMs() + this.#intervalMs);
      },
    });
  }

  #saying({ sequence, fatal, tellsAll, gauges, inError }: Said): Saying {
    const { bootId, profile, leases } = this.#options;
    const { currentTask, heldLeases } = leases.report();
    const { labels, capabilities, deviceInfo } = tellsAll ? profile : {};
    return {
      case: "heartbeat",
      value: {
        status: inError ? AgentStatus.ERROR : leases.size > 0 ? AgentStatus.BUSY : AgentStatus.ONLINE,
        session: { bootId, sequence },
        heldLeases,
        ...(currentTask === undefined ? {} : { currentTask }),
        ...(labels === undefined ? {} : { labels: { ...labels } }),
        ...(capabilities === undefined ? {} : { capabilities: [...capabilities] }),
        ...(deviceInfo === undefined ? {} : { deviceInfo }),
        ...(gauges === undefined ? {} : { gauges: { ...gauges } }),
        ...(fatal === undefined ? {} : { error: fatalReport(fatal) }),
      },
    };
  }
}

/** What a beat says, kept for its repeats. */
interface Said {
  readonly sequence: bigint;
  readonly fatal: FatalError | undefined;
  readonly tellsAll: boolean;
  readonly gauges: Readonly<Record<string, number>> | undefined;
  readonly inError: boolean;
}

function fatalReport({ message, context }: FatalError) {
  return { severity: Severity.FATAL, message, ...(context === undefined ? {} : { context }) };
}

function clamp(intervalMs: number): number {
  return Math.min(LONGEST_MS, Math.max(SHORTEST_MS, intervalMs));
}
