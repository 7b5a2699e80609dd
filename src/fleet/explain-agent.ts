import { type Deafness, decideDeaf, type Hearing, isMute } from "../agents/decide-hearing.ts";
import { brakeReasons } from "../liveness/brake-reasons.ts";
import type { BrakeKind } from "../liveness/decide-brake.ts";
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
  /** Lost and back again and again of late. */
  flapping: boolean;
  /** Of one that opened a stream of commands in this session; null for any other. */
  hearing: Hearing | null;
  /** Whether tasks of agents that are gone go back slowly in its project, or not at all. */
  brake: BrakeKind | undefined;
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
  const signs = tellSigns(agent).map(({ code, words }) => aboutAgent(agent, code, `${name}: ${words}.`));
  const reasons = [...bars, ...signs, ...work, ...(bars.some(isFinal) ? [] : idle)];
  const [first] = reasons;
  if (held.length > 0 && bars.length === 0 && signs.length === 0)
    return { summary: `${name} is at work: it holds ${count(held.length, "task")}.`, reasons };
  return { summary: first?.message ?? `${name} is well.`, reasons };
}

/** While this lasts it does not matter what tasks there are. */
function isFinal({ code }: Reason): boolean {
  return code !== "AGENT_STALE";
}

/** What is the matter with an agent that may get tasks all the same. */
function tellSigns({ liveness, hearing, flapping, brake, held }: ExplainedAgent): Sign[] {
  const signs: Sign[] = [];
  const deaf = decideDeaf(liveness, hearing);
  if (deaf !== undefined) signs.push({ code: "AGENT_DEAF", words: deafness[deaf] });
  if (isMute(liveness, hearing))
    signs.push({
      code: "AGENT_MUTE",
      words: "it is mute: its stream is open, and no heartbeats come, so it may hang",
    });
  if (flapping)
    signs.push({
      code: "AGENT_FLAPPING",
      words: "it is flapping: it was lost and came back again and again of late",
    });
  // To one that is well and works it makes no difference.
  if (brake !== undefined && held > 0 && liveness !== "live" && liveness !== "never")
    signs.push({ code: "BRAKE_ENGAGED", words: brakeReasons[brake] });
  return signs;
}

interface Sign {
  code: string;
  words: string;
}

const deafness = {
  "no-stream": "it is deaf: it beats, and the stream by which it heard of commands and tasks is gone",
  "no-echo": "it is deaf: it beats and its stream is open, and it does not answer the echo that it was sent",
} satisfies Record<Deafness, string>;

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
  const kinds =
    asks.length === 0 ? "any kind" : `${asks.length === 1 ? "kind" : "the kinds"} ${asks.join(", ")}`;
  return [
    aboutAgent(
      agent,
      "ASKS_FOR_OTHER_KINDS",
      `${name} waits for tasks of ${kinds}; those that are due and that it could run are of other kinds.`,
    ),
  ];
}
