import { z } from "zod";

const status = z.enum(["pending", "online", "busy", "benchmarked", "error"]);

const effectShape = z.object({
  /** The agent's status after the heartbeat. */
  status,
  transition: z.object({ from: status, to: status, reason: z.string() }).optional(),
  taskFailures: z.object({ attempted: z.number(), requeued: z.number(), failed: z.number() }).optional(),
  /** UUID of the error that it stored. */
  errorId: z.string().optional(),
});

/** What a heartbeat did: kept under its sequence, so that a repeat gets the same account of it. */
export type HeartbeatEffect = z.infer<typeof effectShape>;

/** A beat that did nothing needs no record: a repeat of it is answered from the agent's state. */
export function didAnything(effect: HeartbeatEffect): boolean {
  const { transition, taskFailures, errorId } = effect;
  return transition !== undefined || errorId !== undefined || (taskFailures?.attempted ?? 0) > 0;
}

/** Reads a stored effect; an older server may have stored it. */
export function readEffect(stored: unknown): HeartbeatEffect {
  return effectShape.parse(stored);
}
