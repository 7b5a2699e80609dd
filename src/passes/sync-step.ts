import { assertNever } from "../runtime/assert-never.ts";
import { type SyncOutcome, type SyncSettings, syncTracker } from "../trackers/sync-tracker.ts";
import { enabledTrackers } from "../trackers/tracker-service.ts";
import type { PassStep, StepOutcome } from "./pass-step.ts";

/** Trackers of one pass that are fetched from at once: each holds a connection to its tracker, and waits most of the time. */
const AT_ONCE = 16;
/** What is left of the step's time when fetching ends, for what was fetched last. */
const GRACE_MS = 5_000;

/** A tracker of a pass, and what came of it. */
export interface SyncedTracker {
  repository: string;
  outcome: SyncOutcome;
}

/** Fetches what changed in every tracker of the project; one that fails harms no other. */
export function createSyncStep(
  settings: SyncSettings,
  { timeoutMs, failed }: { timeoutMs: number; failed(error: unknown): void },
): PassStep {
  const crashed = (error: unknown): SyncOutcome => {
    failed(error);
    return {
      state: "failed",
      detail: "the server's database failed in the middle",
      fetched: 0,
      changed: [],
      shared: false,
    };
  };
  return {
    name: "sync",
    critical: true,
    timeoutMs: timeoutMs + GRACE_MS,
    async run({ project, runId, startedAt, signal, progress }) {
      const trackers = await enabledTrackers(settings.db, project.id);
      const budget = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
      const fetched = new Map<string, number>();
      const waiting = [...trackers];
      const done: SyncedTracker[] = [];
      const work = async () => {
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
          const { id, repository } = next;
          const order = {
            projectId: project.id,
            trackerId: id,
            runId,
            passStartedAt: startedAt,
            progress(count: number) {
              fetched.set(id, count);
              const sum = [...fetched.values()].reduce((all, one) => all + one, 0);
              progress(
                `${counted(sum, "issue")} fetched from ${fetched.size} of ${counted(trackers.length, "tracker")}`,
              );
            },
          };
          done.push({ repository, outcome: await syncTracker(settings, order, budget).catch(crashed) });
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      const places = new Map(trackers.map(({ repository }, place) => [repository, place]));
      done.sort((a, b) => (places.get(a.repository) ?? 0) - (places.get(b.repository) ?? 0));
      return concludeSync(done);
    },
  };
}

/** Puts together what came of a pass's trackers: failures are warnings, unless there was nothing else. */
export function concludeSync(trackers: readonly SyncedTracker[]): StepOutcome {
  if (trackers.length === 0) {
    return { summary: "no tracker", errors: ["no tracker is configured, so that there was nothing to sync"] };
  }
  const outcomes = trackers.map(({ outcome }) => outcome);
  const failed = outcomes.filter(({ state }) => state === "failed");
  const good = outcomes.filter(({ state }) => state === "synced").length;
  const shared = outcomes.filter((outcome) => outcome.shared).length;
  const fetched = outcomes.reduce((sum, outcome) => sum + outcome.fetched, 0);
  const parts = [
    `${good} of ${counted(trackers.length, "tracker")} synced`,
    `${counted(fetched, "issue")} fetched`,
  ];
  if (shared > 0) parts.push(`${counted(shared, "sync")} shared with another pass`);
  return {
    summary: parts.join(", "),
    touchedIssueUrls: outcomes.flatMap(({ changed }) => changed),
    warnings: trackers.flatMap(({ repository, outcome }) => {
      const text = warningOf(outcome);
      return text === undefined ? [] : [`tracker ${repository}: ${text}`];
    }),
    errors:
      failed.length < trackers.length
        ? []
        : [`every tracker failed (${trackers.length} of ${trackers.length})`],
  };
}

function warningOf({ state, detail }: SyncOutcome): string | undefined {
  switch (state) {
    case "synced":
      return undefined;
    case "failed":
    case "rate-limited":
    case "unfinished":
    case "gone":
      return detail;
    case "never":
      return "it was not synced";
    default:
      return assertNever(state);
  }
}

export function counted(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}
