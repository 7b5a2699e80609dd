import {
  type AgentFacts,
  aboutAgent,
  aboutTask,
  count,
  type Explanation,
  type Reason,
  tellBars,
  tellLack,
} from "../tasks/explanation.ts";
import { matchTask, meets, type Requirements } from "../tasks/match-task.ts";

/** What tasks require that are due in the agent's project: of all kinds, and of those for which it asks. */
export interface DueFacts {
  all: readonly Requirements[];
  asked: readonly Requirements[];
}

/** What an agent holds. */
export interface HeldFacts {
  taskId: string;
  kind: string;
  state: "leased" | "running";
}

/** An agent with what its own words say of its trouble. */
export interface ExplainedAgent extends AgentFacts {
  /** When it was heard last, as text; undefined: never. */
  lastSeen: string | undefined;
  /** Since when its status is what it is, as text. */
  statusSince: string;
  /** Message of its newest fatal error. */
  newestError: string | undefined;
}

/** Says why an agent works, idles or gets nothing. */
export function explainAgent(agent: ExplainedAgent, held: readonly HeldFacts[], due: DueFacts): Explanation {
  const { name } = agent;
  const bars = tellBars(agent).map(({ code, words }) =>
    aboutAgent(agent, code, `${name}: ${words}${detail(agent, code)}.`),
  );
  const work = held.map(({ taskId, kind, state }) =>
    aboutTask(
      taskId,
      "HOLDS_TASK",
      state === "running"
        ? `It works on a task of kind ${kind}.`
        : `It was lent a task of kind ${kind} and has not begun.`,
    ),
  );
  const idle = held.length > 0 ? [] : explainIdle(agent, due);
  const reasons = [...bars, ...work, ...(bars.some(isFinal) ? [] : idle)];
  const [first] = reasons;
  if (held.length > 0 && bars.length === 0)
    return { summary: `${name} is at work: it holds ${count(held.length, "task")}.`, reasons };
  return { summary: first?.message ?? `${name} is well.`, reasons };
}

/** While this lasts it does not matter what tasks there are. */
function isFinal({ code }: Reason): boolean {
  return code !== "AGENT_STALE";
}

function detail({ lastSeen, statusSince, newestError }: ExplainedAgent, code: string): string {
  switch (code) {
    case "AGENT_IN_ERROR": {
      const words = newestError === undefined ? "" : `; its newest error: ${newestError.replace(/\.$/, "")}`;
      return ` (since ${statusSince}${words})`;
    }
    case "AGENT_OFFLINE":
    case "AGENT_STALE":
      return lastSeen === undefined ? "" : ` (last heard ${lastSeen})`;
    default:
      return "";
  }
}

function explainIdle(agent: ExplainedAgent, { all: due, asked }: DueFacts): Reason[] {
  const { name, asks, offer } = agent;
  if (due.length === 0)
    return [aboutAgent(agent, "NO_TASKS", `${name} idles because no task is due in its project.`)];
  if (!due.some((requirements) => meets(requirements, offer))) {
    const lacks = due.flatMap((requirements) => matchTask(requirements, offer)).map(tellLack);
    const words = [...new Set(lacks.map((lack) => lack.words))].slice(0, 5).join("; ");
    return [
      aboutAgent(
        agent,
        "MATCHES_NO_TASK",
        `${name} idles because it may run none of the tasks that are due: ${words}.`,
      ),
    ];
  }
  if (asks === undefined)
    return [
      aboutAgent(
        agent,
        "NOT_ASKING",
        `${name} idles because it is not asking this server for tasks; some are due that it could run.`,
      ),
    ];
  if (asked.some((requirements) => meets(requirements, offer)))
    return [
      aboutAgent(agent, "ABOUT_TO_WORK", `${name} is about to get a task: one that it may run is due.`),
    ];
  const kinds = asks.length === 0 ? "any kind" : `kind ${asks.join(", ")}`;
  return [
    aboutAgent(
      agent,
      "ASKS_FOR_OTHER_KINDS",
      `${name} waits for tasks of ${kinds}; those that are due and that it could run are of others.`,
    ),
  ];
}
