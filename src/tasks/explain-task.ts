import { assertNever } from "../runtime/assert-never.ts";
import {
  type AgentFacts,
  aboutAgent,
  aboutTask,
  count,
  type Explanation,
  type Reason,
  tellBars,
  tellLack,
} from "./explanation.ts";
import { matchTask, type Requirements } from "./match-task.ts";
import { CANCELLED_BY_OPERATOR, type TaskState } from "./task.ts";

/** A task as its explanation sees it; times are texts, durations in ms. */
export interface TaskFacts {
  id: string;
  kind: string;
  state: TaskState;
  requirements: Requirements;
  priority: number;
  retries: number;
  maxRetries: number;
  attempt: number;
  agentName: string | undefined;
  /** Of the lease, where it is lent. */
  remainingMs: number | undefined;
  /** Until when it waits; undefined: it is due. */
  waitsUntil: string | undefined;
  /** The wait is its creator's wish, and not a backoff. */
  waitsByWish: boolean;
  /** Why it waits again or ended. */
  error: string | undefined;
  /** Due tasks of its kind and requirements that go first; counted up to a bound. */
  ahead: number;
}

/** Agents of the task's project: those looked at one by one, the likeliest first, and how many there are in all. */
export interface Candidates {
  agents: readonly AgentFacts[];
  total: number;
  /** How many of all have what the task requires. */
  matching: number;
}

/** The agent that holds a task, as its explanation sees it. */
export interface HolderFacts extends AgentFacts {
  /** Why what it holds would not go back at once if it were gone, in a clause. */
  brake: string | undefined;
}

/** Says why a task waits and what would run it, or what became of it. */
export function explainTask(
  task: TaskFacts,
  candidates: Candidates,
  holder: HolderFacts | undefined,
): Explanation {
  switch (task.state) {
    case "pending":
      return task.waitsUntil === undefined
        ? explainDue(task, candidates)
        : explainWait(task, task.waitsUntil, candidates);
    case "leased":
    case "running":
      return explainLent(task, holder);
    case "succeeded":
      return ended(
        task,
        "SUCCEEDED",
        `It is done: ${task.agentName ?? "an agent"} completed it in attempt ${task.attempt}.`,
      );
    case "failed":
      return ended(
        task,
        "FAILED",
        `It failed for good after ${count(task.attempt, "attempt")}${why(task)} A retry tries it anew.`,
      );
    case "cancelled":
      return ended(
        task,
        "CANCELLED",
        task.error === CANCELLED_BY_OPERATOR
          ? `It was ${task.error}. A retry tries it anew.`
          : `It was cancelled${why(task)} A retry tries it anew.`,
      );
    case "quarantined":
      return ended(
        task,
        "QUARANTINED",
        `It is quarantined, and no agent gets it${why(task)} A retry takes it back.`,
      );
    default:
      return assertNever(task.state);
  }
}

function why({ error }: TaskFacts): string {
  return error === undefined ? "." : `: ${error.replace(/\.$/, "")}.`;
}

function ended({ id }: TaskFacts, code: string, summary: string): Explanation {
  return { summary, reasons: [aboutTask(id, code, summary)] };
}

function explainWait(task: TaskFacts, until: string, candidates: Candidates): Explanation {
  const summary = task.waitsByWish
    ? `It waits for its moment: no agent gets it before ${until}.`
    : `It waits until ${until} for retry ${task.retries} of ${task.maxRetries}${why(task)}`;
  const code = task.waitsByWish ? "NOT_BEFORE" : "BACKOFF";
  return {
    summary,
    reasons: [
      aboutTask(task.id, code, summary),
      ...candidates.agents.map((agent) => considered(task, agent)),
    ],
  };
}

function explainDue(task: TaskFacts, candidates: Candidates): Explanation {
  const reasons = candidates.agents.map((agent) => considered(task, agent));
  const ready = candidates.agents.filter((agent) => canRun(task, agent));
  const summary = summarizeDue(task, candidates, ready);
  const ahead = task.ahead === 0 ? [] : [aboutTask(task.id, "OTHERS_FIRST", othersFirst(task))];
  const before =
    task.error === undefined
      ? []
      : [aboutTask(task.id, "TRIED_BEFORE", `Attempt ${task.attempt} ended${why(task)}`)];
  return {
    summary: summary.message,
    reasons: [aboutTask(task.id, summary.code, summary.message), ...before, ...ahead, ...reasons],
  };
}

function othersFirst({ ahead, kind }: TaskFacts): string {
  const [wait, go] = ahead === 1 ? ["waits", "goes"] : ["wait", "go"];
  return `${count(ahead, "task")} of kind ${kind} that ${wait} for the same agents ${go} first, by priority and age.`;
}

function summarizeDue(
  task: TaskFacts,
  { total, matching }: Candidates,
  ready: readonly AgentFacts[],
): { code: string; message: string } {
  const needs = tellNeeds(task);
  if (total === 0)
    return { code: "NO_AGENTS", message: "It waits because the project has no agents: enroll one." };
  if (matching === 0) {
    const message = `It waits because none of the ${count(total, "agent")} has what it requires: ${needs}.`;
    return { code: "NO_MATCHING_AGENT", message };
  }
  const waiting = ready.filter(({ asks }) => asksFor(asks, task.kind));
  if (waiting.length > 0) {
    const [first] = waiting;
    return {
      code: "ABOUT_TO_RUN",
      message: `It is about to run: ${first?.name ?? "an agent"} waits for such tasks.`,
    };
  }
  if (ready.length === 0) {
    const able = needs === "" ? "no agent" : `no agent that has what it requires (${needs})`;
    const message = `It waits because ${able} can take tasks now.`;
    return { code: "NO_AVAILABLE_AGENT", message };
  }
  if (ready.every(({ held }) => held > 0)) {
    const message = `It waits because every agent that could run it is at work: ${names(ready)}.`;
    return { code: "AGENTS_BUSY", message };
  }
  const message = `It waits until an agent asks for tasks of kind ${task.kind}: ${names(ready)} could run it.`;
  return { code: "NOT_ASKED_FOR", message };
}

function names(agents: readonly AgentFacts[]): string {
  const shown = agents.slice(0, 3).map(({ name }) => name);
  const more = agents.length - shown.length;
  return more === 0 ? shown.join(", ") : `${shown.join(", ")} and ${more} more`;
}

/** What the task requires, in words; empty where it requires nothing. */
export function tellNeeds({
  requirements: { capabilities, labels },
}: {
  requirements: Requirements;
}): string {
  const words = [
    ...capabilities.map((capability) => `the capability ${capability}`),
    ...Object.entries(labels).map(([key, value]) => `the label ${key}=${value}`),
  ];
  return words.join(", ");
}

function canRun({ requirements }: TaskFacts, agent: AgentFacts): boolean {
  return matchTask(requirements, agent.offer).length === 0 && tellBars(agent).every(isNoBar);
}

/** An agent that is late may still come and ask. */
function isNoBar({ code }: { code: string }): boolean {
  return code === "AGENT_STALE";
}

function asksFor(asks: readonly string[] | undefined, kind: string): boolean {
  return asks !== undefined && (asks.length === 0 || asks.includes(kind));
}

/** What one agent lacks, or what it does. */
function considered(task: TaskFacts, agent: AgentFacts): Reason {
  const lacks = matchTask(task.requirements, agent.offer).map(tellLack);
  const found = [...tellBars(agent), ...lacks];
  const [first] = found;
  if (first !== undefined) {
    const says = found.every(isNoBar) ? "could run it, but" : "does not run it:";
    return aboutAgent(
      agent,
      first.code,
      `${agent.name} ${says} ${found.map(({ words }) => words).join("; ")}.`,
    );
  }
  if (asksFor(agent.asks, task.kind))
    return aboutAgent(agent, "AGENT_WAITS", `${agent.name} waits for such tasks.`);
  if (agent.asks !== undefined) {
    const kinds = agent.asks.join(", ");
    return aboutAgent(
      agent,
      "ASKS_FOR_OTHER_KINDS",
      `${agent.name} could run it, and waits for tasks of other kinds: ${kinds}.`,
    );
  }
  if (agent.held > 0)
    return aboutAgent(
      agent,
      "AGENT_BUSY",
      `${agent.name} could run it, and holds ${count(agent.held, "task")}.`,
    );
  return aboutAgent(
    agent,
    "NOT_ASKING",
    `${agent.name} could run it, and is not asking this server for tasks.`,
  );
}

function explainLent(task: TaskFacts, holder: HolderFacts | undefined): Explanation {
  const name = holder?.name ?? task.agentName ?? "An agent that was removed";
  const seconds = Math.round((task.remainingMs ?? 0) / 1000);
  const code = task.state === "leased" ? "LEASED" : "RUNNING";
  const work = task.state === "leased" ? "has it and has not begun" : "works on it";
  const summary = `${name} ${work}: attempt ${task.attempt}, ${seconds === 0 ? "its lease is past its end" : `${seconds} s of its lease are left`}.`;
  const trouble = holder === undefined ? [] : tellBars(holder);
  const reasons = trouble.map((each) => {
    const then = returnOf(each.code, holder?.brake);
    return aboutAgent(
      { id: holder?.id ?? "" },
      each.code,
      `${name}: ${each.words}${then === undefined ? "" : `; ${then}`}.`,
    );
  });
  return { summary, reasons: [aboutTask(task.id, code, summary), ...reasons] };
}

/** What becomes of a task when its agent is silent. */
function returnOf(code: string, brake: string | undefined): string | undefined {
  if (code !== "AGENT_OFFLINE" && code !== "AGENT_STALE") return undefined;
  if (brake !== undefined) return brake;
  return code === "AGENT_OFFLINE"
    ? "the task returns at the end of its lease"
    : "the task returns if the agent stays away";
}
