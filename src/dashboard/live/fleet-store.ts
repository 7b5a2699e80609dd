/** All agents of the project, as this page knows them: read from lists, kept up by events. */
import { signal } from "@preact/signals";
import type { Agent } from "../../../gen/drover/v1/agent_pb.js";
import { type AgentRow, rowOf } from "./agent-row.ts";
import { Samples } from "./samples.ts";

export type FleetState =
  | { readonly kind: "loading" }
  | { readonly kind: "failed"; readonly sentence: string }
  | { readonly kind: "ready"; readonly stale?: string };

export const fleetState = signal<FleetState>({ kind: "loading" });
/** The rows, in no order; a new map whenever something changed, at most once a frame. */
export const agentRows = signal<ReadonlyMap<string, AgentRow>>(new Map());
/** Counts the rounds of samples. */
export const sampleRound = signal(0);

/** By the agent's id, which outlives its name. */
const rows = new Map<string, AgentRow>();
const samples = new Map<string, Map<string, Samples>>();
let frame: number | undefined;

function publish(): void {
  if (frame !== undefined) return;
  const run = () => {
    frame = undefined;
    agentRows.value = new Map(rows);
  };
  // A hidden page draws no frames, and nobody waits for it.
  if (document.visibilityState === "hidden") run();
  else frame = requestAnimationFrame(run);
}

/** Takes a whole list: who is not in it is not there. */
export function replaceFleet(agents: readonly Agent[], atMs: number): void {
  const present = new Set<string>();
  for (const agent of agents) {
    present.add(agent.id);
    rows.set(agent.id, rowOf(agent));
    sample(agent, atMs);
  }
  for (const id of rows.keys()) {
    if (present.has(id)) continue;
    rows.delete(id);
    samples.delete(id);
  }
  fleetState.value = { kind: "ready" };
  sampleRound.value += 1;
  publish();
}

/** Takes one agent as it is now. */
export function putAgent(agent: Agent): void {
  rows.set(agent.id, rowOf(agent));
  publish();
}

/** Changes what is known of an agent; nothing where it is not known. */
export function changeAgent(id: string, change: (agent: Agent) => Agent): void {
  const row = rows.get(id);
  if (row === undefined) return;
  rows.set(id, rowOf(change(row.agent)));
  publish();
}

export function dropAgent(id: string): void {
  rows.delete(id);
  samples.delete(id);
  publish();
}

/** Forgets everything, when somebody signs out. */
export function clearFleet(): void {
  rows.clear();
  samples.clear();
  fleetState.value = { kind: "loading" };
  publish();
}

/** Names of an agent's measurements, its progress first. */
export const PROGRESS = "progress";

function sample(agent: Agent, atMs: number): void {
  const entries: [string, number][] = Object.entries(agent.gauges);
  if (agent.currentTask !== undefined) entries.unshift([PROGRESS, agent.currentTask.progress]);
  if (entries.length === 0) return;
  const own = samples.get(agent.id) ?? new Map<string, Samples>();
  samples.set(agent.id, own);
  for (const [name, value] of entries) {
    const line = own.get(name) ?? new Samples();
    own.set(name, line);
    line.add(atMs, value);
  }
}

/** This page's samples of one measurement. */
export function samplesOf(agentId: string, name: string): Samples | undefined {
  return samples.get(agentId)?.get(name);
}
