import { type Config, settings, thresholdsOf } from "../config.ts";
import { offlineAfterMs, staleAfterMs } from "../liveness/thresholds.ts";
import { printDuration } from "../runtime/duration.ts";
import { error, type Finding, ok, warning } from "./finding.ts";

/** Variables that agents and the command line read, and the server does not. */
const OF_CLIENTS = [
  "DROVER_URL",
  "DROVER_GRPC_URL",
  "DROVER_TOKEN",
  "DROVER_PROJECT",
  "DROVER_CA",
  "DROVER_CLIENT_CERT",
  "DROVER_CLIENT_KEY",
  "DROVER_TASK_ID",
  "DROVER_ATTEMPT",
];

/** Settings each by itself; `problems` are sentences that name theirs. */
export function checkSettings(
  problems: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Finding[] {
  const bad = problems.map((problem) =>
    error("settings", problem, "Correct it, or leave it out: `drover serve --help` shows each default."),
  );
  const unknown = findUnknown(environment);
  if (bad.length + unknown.length > 0) return [...bad, ...unknown];
  return [ok("settings", `All ${settings.length} settings can be used.`)];
}

/** A variable with a typing error says nothing to anybody: the default counts, and nobody notices. */
function findUnknown(environment: Readonly<Record<string, string | undefined>>): Finding[] {
  const known = new Set([...settings.map(({ env }) => env), ...OF_CLIENTS]);
  return Object.keys(environment)
    .filter((name) => name.startsWith("DROVER_") && !known.has(name))
    .map((name) =>
      warning(
        "settings",
        `${name} is no setting of Drover, so it changes nothing.`,
        `Correct its name, or remove it. The settings are in \`drover serve --help\`${nearest(name, known)}.`,
      ),
    );
}

function nearest(name: string, known: Iterable<string>): string {
  const near = [...known].find((one) => one.startsWith(name) || name.startsWith(one) || isSwap(one, name));
  return near === undefined ? "" : `; perhaps ${near} is meant`;
}

/** Whether two names differ in a single stretch of at most two characters. */
function isSwap(one: string, other: string): boolean {
  const shorter = Math.min(one.length, other.length);
  let head = 0;
  while (head < shorter && one[head] === other[head]) head += 1;
  let tail = 0;
  while (tail < shorter - head && one.at(-1 - tail) === other.at(-1 - tail)) tail += 1;
  return Math.max(one.length, other.length) - head - tail <= 2;
}

/** Times that have to fit together; `clashes` are the inequalities that fail. */
export function checkThresholds(config: Config, clashes: readonly string[]): Finding[] {
  if (clashes.length > 0)
    return clashes.map((clash) =>
      error("thresholds", clash, "Change one of the settings that it names, so that it holds."),
    );
  const thresholds = thresholdsOf(config);
  const [interval, stale, offline, lease] = [
    config.heartbeatIntervalMs,
    staleAfterMs(thresholds),
    offlineAfterMs(thresholds),
    config.leaseMs,
  ].map(printDuration);
  return [
    ok(
      "thresholds",
      `A heartbeat each ${interval}; stale after ${stale}, offline after ${offline}; leases last ${lease}.`,
    ),
  ];
}
