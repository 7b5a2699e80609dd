/**
 * A step of a heartbeat pass: what an operator's own module exports, one or a list of them, to have it done in every
 * pass behind the steps that Drover brings (see DROVER_PASS_STEPS).
 */
export interface PassStep {
  /** Lower-case words with hyphens, unique among the steps; its records go by it. */
  readonly name: string;
  /** Whether an exception is an error of the pass; otherwise it is a warning. */
  readonly critical: boolean;
  /** After so long the signal is aborted, and a moment later the pass goes on without it. */
  readonly timeoutMs: number;
  run(context: PassContext): Promise<StepOutcome>;
}

/** What a step did. Whatever is left out is nothing. */
export interface StepOutcome {
  /** In a few words, such as "12 issues fetched"; shown with the run. */
  summary?: string;
  /** Addresses of issues that it created or changed here. */
  touchedIssueUrls?: readonly string[];
  /** What somebody should look at. */
  warnings?: readonly string[];
  /** What went wrong so that the pass cannot be called good. */
  errors?: readonly string[];
}

/** What a step knows and can do. */
export interface PassContext {
  readonly project: { readonly id: string; readonly name: string };
  /** For whom the pass was called; not necessarily an enrolled agent. */
  readonly agentName: string;
  /** Id of the run. */
  readonly runId: string;
  /** Who called, `agent:NAME` or `token:ID`. */
  readonly actor: string;
  /** By the database's clock. */
  readonly startedAt: Date;
  /** Aborted when the step's time is over or the server stops. */
  readonly signal: AbortSignal;
  /** Shows how far the step is, where the run is looked at meanwhile. */
  progress(text: string): void;
  /** Adds a task, as an operator would; resolves to its id. */
  createTask(wish: StepTask): Promise<string>;
  /** Cancels a task by its id; one that has ended stays as it is. */
  cancelTask(taskId: string, reason: string): Promise<void>;
}

/** A task as a step wants it. */
export interface StepTask {
  kind: string;
  /** Any JSON. */
  payload?: unknown;
  /** From 0 to 9, larger is sooner; 5 when left out. */
  priority?: number;
  labels?: Record<string, string>;
  /** 3 when left out. */
  maxRetries?: number;
}
