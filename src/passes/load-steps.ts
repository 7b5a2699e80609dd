import { isAbsolute, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import type { PassStep } from "./pass-step.ts";

/** A module of DROVER_PASS_STEPS that cannot be used; the message says which and why. */
export class PassStepError extends Error {
  constructor(problem: string, cause?: unknown) {
    super(`DROVER_PASS_STEPS: ${problem}`, { cause });
    // The start is refused as for any other bad setting.
    this.name = "SettingError";
  }
}

const LONGEST_STEP_MS = 600_000;

const stepShape = z.object({
  name: z.string().regex(/^[a-z][a-z0-9-]{0,63}$/, "must be lower-case words with hyphens"),
  critical: z.boolean(),
  timeoutMs: z.number().min(1).max(LONGEST_STEP_MS),
  run: z.custom<PassStep["run"]>((value) => typeof value === "function", "must be a function"),
});

/** Loads the steps that the modules export by default, one or a list each. Throws PassStepError. */
export async function loadSteps(modules: readonly string[], taken: readonly string[]): Promise<PassStep[]> {
  const steps: PassStep[] = [];
  for (const module of modules) steps.push(...(await loadModule(module)));
  const names = [...taken, ...steps.map(({ name }) => name)];
  const twice = names.find((name, place) => names.indexOf(name) !== place);
  if (twice !== undefined) throw new PassStepError(`there are two steps named ${twice}.`);
  return steps;
}

async function loadModule(module: string): Promise<PassStep[]> {
  const path = isAbsolute(module) ? module : resolve(module);
  const loaded = await importModule(module, path);
  const given: unknown = loaded.default;
  const list: unknown[] = Array.isArray(given) ? given : [given];
  return list.map((step) => {
    const parsed = stepShape.safeParse(step);
    if (parsed.success) {
      const { name, critical, timeoutMs } = parsed.data;
      // `run` keeps its `this`: a step may be an object of a class.
      return { name, critical, timeoutMs, run: (context) => parsed.data.run.call(step, context) };
    }
    const [problem] = parsed.error.issues;
    const what = problem === undefined ? "" : ` (${[...problem.path, problem.message].join(" ")})`;
    throw new PassStepError(`${module} does not export a step by default${what}.`);
  });
}

async function importModule(module: string, path: string): Promise<{ default?: unknown }> {
  try {
    return await import(pathToFileURL(path).href);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new PassStepError(`${module} cannot be loaded: ${text}`, error);
  }
}
