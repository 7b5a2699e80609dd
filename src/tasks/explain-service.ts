import type { Db } from "../storage/database.ts";
import { findAgentFacts, findCandidates, findPlace, type HeldTask, listHeld } from "./explain-store.ts";
import { explainTask } from "./explain-task.ts";
import type { AgentFacts, Explanation } from "./explanation.ts";
import type { Requirements } from "./match-task.ts";
import { findDue } from "./requirement-store.ts";
import { noSuchTask } from "./task-refusals.ts";
import { findTask } from "./task-store.ts";

/** Agents that are looked at one by one. */
const MOST_CONSIDERED = 20;
/** Tasks that an agent holds are named so far. */
const MOST_HELD = 100;
/** Tasks ahead are counted so far. */
const MOST_AHEAD = 10_000;

/** For which kinds agents of a project wait on this server, by agent id; empty: for any. */
export type AskedKinds = (projectId: string) => ReadonlyMap<string, readonly string[]>;

/** What is known of a project elsewhere and bears on its tasks. */
export interface ExplainSources {
  readonly askedKinds: AskedKinds;
  /** Why tasks of agents that are gone do not go back at once, in a clause; undefined: they do. */
  tellBrake(projectId: string): Promise<string | undefined>;
}

/** Explains the project's task, or throws NOT_FOUND. */
export async function explainOneTask(
  db: Db,
  { askedKinds, tellBrake }: ExplainSources,
  projectId: string,
  taskId: string,
): Promise<Explanation> {
  const task = await findTask(db, projectId, taskId);
  if (task === undefined) throw noSuchTask();
  const place = await findPlace(db, projectId, taskId, task.requirements, MOST_AHEAD);
  const asked = askedKinds(projectId);
  const withAsks = (facts: Omit<AgentFacts, "asks">): AgentFacts => ({ ...facts, asks: asked.get(facts.id) });
  const { agents, total, matching } = await findCandidates(db, projectId, task.requirements, MOST_CONSIDERED);
  const isLent = task.state === "leased" || task.state === "running";
  const holder =
    isLent && place.agentId !== undefined ? await findAgentFacts(db, projectId, place.agentId) : undefined;
  return explainTask(
    { ...task, ...place, error: task.error?.message },
    { agents: agents.map(withAsks), total, matching },
    holder && { ...withAsks(holder), brake: await tellBrake(projectId) },
  );
}

/** What tasks require that are due in the project, each set once: those of these kinds, or of any where none is named. */
export async function dueRequirements(
  db: Db,
  projectId: string,
  kinds: readonly string[],
): Promise<Requirements[]> {
  const awaited =
    kinds.length === 0 ? [{ projectId, kind: undefined }] : kinds.map((kind) => ({ projectId, kind }));
  return (await findDue(db, awaited)).map(({ requirements }) => requirements);
}

/** What an agent holds, the oldest loan first; up to a bound. */
export async function heldTasks(db: Db, projectId: string, agentId: string): Promise<HeldTask[]> {
  return await listHeld(db, projectId, agentId, MOST_HELD);
}
