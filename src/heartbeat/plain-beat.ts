import type { ReportedStatus } from "../agents/agent.ts";
import { parseId } from "../runtime/resource-id.ts";
import { loanKey, loansNamedIn, type NamedLoan } from "../tasks/task-report.ts";
import type { Beat, Heartbeat } from "./heartbeat.ts";

/** A beat that changes nothing but when its agent was heard and how its tasks get on, if its agent is as it says. */
export interface PlainBeat {
  readonly beat: Beat;
  readonly status: Exclude<ReportedStatus, "error">;
  /** The loans that it names, the task at hand first. */
  readonly loans: readonly NamedLoan[];
}

/** A plain beat that stands for others before it. */
export interface FoldedBeat {
  readonly plain: PlainBeat;
  /** The lowest sequence among them: if that is new, all are. */
  readonly firstSequence: bigint | undefined;
}

/** The beat as a plain one; undefined where it brings something that has to be decided on. */
export function plainBeatOf(beat: Beat): PlainBeat | undefined {
  const { status, error, profile, acknowledgedCommands, tasks } = beat.heartbeat;
  if (status === "error" || error !== undefined || beat.renewalDue) return undefined;
  if (acknowledgedCommands.length > 0 || saysOfItself(profile)) return undefined;
  const loans = loansNamedIn(tasks);
  // The text names no task: whether that drops a link is the careful way's to say.
  if (tasks.currentTask !== undefined && loans[0]?.accept !== true) return undefined;
  if (tasks.heldLeases.some(({ taskId }) => parseId("task", taskId) === undefined)) return undefined;
  // Rare and large: not for the statement of the many.
  if (tasks.currentTask?.checkpoint !== undefined) return undefined;
  return { beat, status, loans };
}

function saysOfItself({ labels, capabilities, deviceInfo, gauges }: Heartbeat["profile"]): boolean {
  return (labels ?? capabilities ?? deviceInfo ?? gauges) !== undefined;
}

/**
 * Whether the later of two beats of one agent leaves what both would leave, taken one after the other, if neither of
 * them changes anything.
 */
export function foldsInto(earlier: PlainBeat, later: PlainBeat): boolean {
  if (earlier.status !== later.status || earlier.beat.caller.tokenId !== later.beat.caller.tokenId)
    return false;
  if (!followsInSession(earlier.beat.heartbeat, later.beat.heartbeat)) return false;
  return coversLoans(earlier.loans, later.loans);
}

function followsInSession({ session: earlier }: Heartbeat, { session: later }: Heartbeat): boolean {
  if (earlier === undefined || later === undefined) return earlier === later;
  if (earlier.bootId !== later.bootId) return false;
  if (earlier.sequence === undefined || later.sequence === undefined)
    return earlier.sequence === later.sequence;
  return earlier.sequence < later.sequence;
}

/** Same loans, and nothing that the earlier says of a task is left as it was by the later. */
function coversLoans(earlier: readonly NamedLoan[], later: readonly NamedLoan[]): boolean {
  if (earlier.length !== later.length) return false;
  return earlier.every((loan, place) => {
    const other = later[place];
    if (other === undefined || loanKey(loan) !== loanKey(other) || loan.accept !== other.accept) return false;
    return (
      (loan.progress === undefined || other.progress !== undefined) &&
      (loan.detail === undefined || other.detail !== undefined)
    );
  });
}
