import type { AgentStatus, Liveness } from "../agents/agent.ts";
import type { CordonState } from "../agents/decide-cordon.ts";
import { assertNever } from "../runtime/assert-never.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { Lack, Offer } from "./match-task.ts";
import { type ClaimBar, findClaimBar } from "./may-claim.ts";

/** Why something is as it is. */
export interface Explanation {
  /** One sentence. */
  summary: string;
  /** The most important first. */
  reasons: Reason[];
}

/** One thing that makes it so. */
export interface Reason {
  /** A constant that programs can compare. */
  code: string;
  message: string;
  /** Id of a task or an agent. */
  subject: string;
}

/** An agent as explanations see it. */
export interface AgentFacts {
  id: string;
  name: string;
  status: AgentStatus;
  liveness: Liveness;
  /** Left out: it gets work. */
  cordon?: CordonState;
  cordonReason?: string;
  offer: Offer;
  /** Tasks that it holds. */
  held: number;
  /** Kinds for which it waits here at the moment, empty: any; undefined: it does not wait here. */
  asks: readonly string[] | undefined;
}

/** What an agent lacks for a task, in words. */
export function tellLack(lack: Lack): { code: string; words: string } {
  switch (lack.kind) {
    case "capability":
      return { code: "LACKS_CAPABILITY", words: `it lacks the capability ${lack.capability}` };
    case "label": {
      const { key, wanted, has } = lack;
      const words =
        has === undefined
          ? `it has no label ${key}, which must be ${wanted}`
          : `its label ${key} is ${has} and must be ${wanted}`;
      return { code: "LACKS_LABEL", words };
    }
    default:
      return assertNever(lack);
  }
}

/** What keeps an agent from being lent anything, in words: what the rule for claims says, and its silence. */
export function tellBars(
  agent: Pick<AgentFacts, "status" | "liveness" | "cordon" | "cordonReason">,
): { code: string; words: string }[] {
  const bar = findClaimBar(agent);
  return [
    ...(bar === undefined ? [] : [tellBar(bar, agent.cordonReason ?? "")]),
    ...tellSilence(agent.liveness),
  ];
}

function tellBar(bar: ClaimBar, cordonReason: string): { code: string; words: string } {
  switch (bar.kind) {
    case "in-error":
      return {
        code: "AGENT_IN_ERROR",
        words: "it is in error, and gets nothing until it reports that it is well or is reset",
      };
    case "cordoned":
      return {
        code: "AGENT_CORDONED",
        words: `it is cordoned, and gets nothing new${because(cordonReason)}`,
      };
    case "draining":
      return {
        code: "AGENT_DRAINING",
        words: `it is draining: it finishes what it holds, and gets nothing new${because(cordonReason)}`,
      };
    default:
      return assertNever(bar);
  }
}

function because(reason: string): string {
  return reason === "" ? "" : ` (${reason})`;
}

function tellSilence(liveness: Liveness): { code: string; words: string }[] {
  switch (liveness) {
    case "offline":
      return [{ code: "AGENT_OFFLINE", words: "it is offline: its heartbeats stopped, or it left" }];
    case "never":
      return [{ code: "AGENT_NEVER_HEARD", words: "it was enrolled and has not been heard yet" }];
    case "stale":
      return [{ code: "AGENT_STALE", words: "its heartbeat is overdue" }];
    case "live":
      return [];
    default:
      return assertNever(liveness);
  }
}

export function aboutAgent(agent: { id: string }, code: string, message: string): Reason {
  return { code, message, subject: formatId("agent", agent.id) };
}

export function aboutTask(taskId: string, code: string, message: string): Reason {
  return { code, message, subject: formatId("task", taskId) };
}

/** "1 task", "2 tasks". */
export function count(number: number, word: string): string {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}
