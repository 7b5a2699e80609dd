import { MAX_LOSSES, MOST_TAKEN_DOWN } from "../../src/tasks/decide-task.ts";

/** What a task should be, kept by rules of the product's own words and by no code of the server's. */
export interface ModelTask {
  state: string;
  epoch: number;
  holder: number | undefined;
  retries: number;
  losses: number;
  /** Which agent made which attempt, by epoch, and how it ended. */
  attempts: { agent: number; outcome: string | undefined; ran: boolean }[];
  /** Agents that went down in it since it was last retried. */
  felled: Set<number>;
}

export const newModelTask = (): ModelTask => ({
  state: "pending",
  epoch: 0,
  holder: undefined,
  retries: 0,
  losses: 0,
  attempts: [],
  felled: new Set(),
});

export const isLent = ({ state }: ModelTask): boolean => state === "leased" || state === "running";

/** Whether a write of that agent under that epoch counts. */
export const holds = (task: ModelTask, agent: number, epoch: number): boolean =>
  isLent(task) && task.holder === agent && task.epoch === epoch;

/** What an agent is told whose write does not count. */
export const refusalFor = (task: ModelTask, agent: number): string =>
  task.attempts.some((attempt) => attempt.agent === agent) ? "LEASE_LOST" : "not-found";

export function lend(task: ModelTask, agent: number): void {
  task.state = "leased";
  task.epoch += 1;
  task.holder = agent;
  task.attempts.push({ agent, outcome: undefined, ran: false });
}

export function begin(task: ModelTask): void {
  task.state = "running";
  const attempt = task.attempts.at(-1);
  if (attempt !== undefined) attempt.ran = true;
}

export function finish(task: ModelTask, outcome: string, state: string): void {
  const attempt = task.attempts.at(-1);
  if (attempt !== undefined) attempt.outcome = outcome;
  task.state = state;
}

/** A failure uses up a retry; the last one ends the task. */
export function failOver(task: ModelTask, outcome: string, maxRetries: number): void {
  const state = task.retries < maxRetries ? "pending" : "failed";
  if (state === "pending") task.retries += 1;
  finish(task, outcome, state);
}

/** A loss uses up none. */
export function lose(task: ModelTask): void {
  task.losses += 1;
  finish(task, "lost", task.losses > MAX_LOSSES ? "failed" : "pending");
}

/** The agent of a task that ran went down: the third one sets it aside, whatever else is left. */
export function fell(task: ModelTask, ran: boolean): void {
  if (!ran || task.holder === undefined) return;
  task.felled.add(task.holder);
  if (task.felled.size >= MOST_TAKEN_DOWN) task.state = "quarantined";
}

export function retry(task: ModelTask): void {
  Object.assign(task, { state: "pending", retries: 0, losses: 0, felled: new Set() });
}
