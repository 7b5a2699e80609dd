/** What a step came to, with the texts that go into the run. */
export interface FinishedStep {
  name: string;
  summary: string;
  warnings: readonly string[];
  errors: readonly string[];
  touchedIssueUrls: readonly string[];
}

export type Verdict = "ok" | "warning" | "error";

/** What a pass came to. */
export interface PassConclusion {
  status: Verdict;
  summary: string;
  warnings: string[];
  errors: string[];
  touchedIssueUrls: string[];
}

/** Caps of a run's record. */
export const MOST_TEXTS = 100;
export const LONGEST_TEXT = 1_024;
export const MOST_URLS = 1_000;

/** An error outweighs a warning. */
export function verdictOf({
  warnings,
  errors,
}: {
  warnings: readonly string[];
  errors: readonly string[];
}): Verdict {
  if (errors.length > 0) return "error";
  return warnings.length > 0 ? "warning" : "ok";
}

/** Puts together what the steps said: every text and every address once, and no more of them than a record holds. */
export function concludePass(steps: readonly FinishedStep[]): PassConclusion {
  const warnings = gather(steps.flatMap((step) => step.warnings));
  const errors = gather(steps.flatMap((step) => step.errors));
  const urls = [...new Set(steps.flatMap((step) => step.touchedIssueUrls))];
  const parts = steps.map(({ name, summary }) => `${name}: ${summary === "" ? "done" : summary}`);
  const touched = urls.length === 1 ? "1 issue touched" : `${urls.length} issues touched`;
  return {
    status: verdictOf({ warnings, errors }),
    summary: cutText([...parts, touched].join("; ")),
    warnings,
    errors,
    touchedIssueUrls: urls.slice(0, MOST_URLS),
  };
}

function gather(texts: readonly string[]): string[] {
  const all = [...new Set(texts.map(cutText))];
  if (all.length <= MOST_TEXTS) return all;
  return [...all.slice(0, MOST_TEXTS - 1), `and ${all.length - MOST_TEXTS + 1} more`];
}

/** A text as a record holds it: no NUL, no lone surrogate, at most so many code points. */
export function cutText(text: string): string {
  const points = [...text.replaceAll("\0", "").toWellFormed()];
  return points.length <= LONGEST_TEXT ? points.join("") : `${points.slice(0, LONGEST_TEXT - 1).join("")}…`;
}
