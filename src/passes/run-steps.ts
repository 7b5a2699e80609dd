import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { Refusal } from "../runtime/refusal.ts";
import type { StepRecord } from "../storage/schema.ts";
import type { PassContext, PassStep } from "./pass-step.ts";
import { cutText, type FinishedStep, verdictOf } from "./plan-pass.ts";

/** A step that was run: what it said, and its record. */
export interface RanStep extends FinishedStep {
  record: StepRecord;
}

export interface StepListener {
  /** Stands around the run of a step. */
  around<T>(step: string, run: () => Promise<T>): Promise<T>;
  /** A step threw; the pass goes on. */
  threw(step: string, error: unknown): void;
  /** A step ended, or said how far it is. */
  progressed(summary: string, done: readonly RanStep[]): void;
}

/** How long a step that was told to end may take for that; then the pass goes on without it. */
const GRACE_MS = 1_000;

/** Steps of operators come without our compiler's promise. */
const texts = z.array(z.string()).optional();
const outcomeShape = z
  .object({ summary: z.string().optional(), touchedIssueUrls: texts, warnings: texts, errors: texts })
  .optional();

/**
 * Runs steps one after another. Whatever happens in one (an exception, a step that does not end, an answer that is none)
 * is told and does not keep the next from running; only `stopping` does, which ends the whole.
 */
export async function runSteps(
  steps: readonly PassStep[],
  context: Omit<PassContext, "signal" | "progress">,
  stopping: AbortSignal,
  listener: StepListener,
): Promise<RanStep[]> {
  const done: RanStep[] = [];
  const begun = performance.now();
  for (const step of steps) {
    const progress = (text: string) => listener.progressed(cutText(`${step.name}: ${text}`), done);
    progress("begun");
    const began = performance.now();
    // By the database's clock, and ours for what passed since.
    const startedAt = new Date(context.startedAt.getTime() + began - begun).toISOString();
    const finished = stopping.aborted
      ? problem(step, "the server stopped before it")
      : await runStep(step, context, stopping, progress, listener);
    const record: StepRecord = {
      name: step.name,
      critical: step.critical,
      status: verdictOf(finished),
      startedAt,
      durationMs: Math.round(performance.now() - began),
      summary: finished.summary,
      warnings: finished.warnings.length,
      errors: finished.errors.length,
      touched: finished.touchedIssueUrls.length,
    };
    done.push({ ...finished, record });
  }
  return done;
}

async function runStep(
  step: PassStep,
  context: Omit<PassContext, "signal" | "progress">,
  stopping: AbortSignal,
  progress: (text: string) => void,
  listener: StepListener,
): Promise<FinishedStep> {
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(new StepOverdue()), step.timeoutMs);
  const signal = AbortSignal.any([stopping, timeout.signal]);
  let isOver = false;
  try {
    // What a step that was left behind still says is nothing of this pass any more.
    const given = { ...context, signal, progress: (text: string) => (isOver ? undefined : progress(text)) };
    const work = listener.around(step.name, async () => await step.run(given));
    const outcome = await Promise.race([work, endOf(signal)]);
    return finishedStep(step, outcomeShape.parse(outcome ?? undefined));
  } catch (error) {
    if (signal.aborted) {
      return problem(step, timeout.signal.aborted ? overdueText(step) : "the server stopped in the middle");
    }
    listener.threw(step.name, error);
    return problem(step, error instanceof Refusal ? error.message : wordsOf(error));
  } finally {
    isOver = true;
    clearTimeout(timer);
  }
}

class StepOverdue extends Error {}

async function endOf(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) {
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  }
  await delay(GRACE_MS, undefined, { ref: false });
  throw signal.reason;
}

function overdueText({ timeoutMs }: PassStep): string {
  return `it took longer than ${timeoutMs / 1000} s`;
}

/** What an exception says to callers: of the database's and the system's errors only that they were. */
function wordsOf(error: unknown): string {
  const isOwn =
    error instanceof Error && (error.name === "Error" || error.name === "TypeError") && !("cause" in error);
  return isOwn ? `it threw: ${error.message}` : "it threw an exception; the server's log has it";
}

function problem(step: PassStep, text: string): FinishedStep {
  const said = [`${step.name}: ${text}`];
  const [warnings, errors] = step.critical ? [[], said] : [said, []];
  return { name: step.name, summary: text, warnings, errors, touchedIssueUrls: [] };
}

function finishedStep(step: PassStep, outcome: z.infer<typeof outcomeShape>): FinishedStep {
  const { summary = "", touchedIssueUrls = [], warnings = [], errors = [] } = outcome ?? {};
  const named = (list: readonly string[]) => list.map((text) => `${step.name}: ${text}`);
  return {
    name: step.name,
    summary: cutText(summary),
    warnings: named(warnings),
    errors: named(errors),
    touchedIssueUrls: touchedIssueUrls.map(cutText),
  };
}
