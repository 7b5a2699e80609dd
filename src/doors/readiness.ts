/** Asks whether one thing is ready: undefined when it is, otherwise a sentence that says what is missing. */
export type ReadinessCheck = () => Promise<string | undefined>;

/** What is not ready, by the name of its check, and why. */
export interface NotReady {
  readonly name: string;
  readonly reason: string;
}

/** Finds what is not ready; nothing means that calls are welcome. */
export type FindNotReady = () => Promise<NotReady[]>;

/** How long a readiness check may take before it counts as failed, in milliseconds. */
const CHECK_TIMEOUT_MS = 2000;

/**
 * The one answer to whether calls should be sent here, for every way to ask. Those who ask while the checks run share
 * what these find, since anybody may ask and the checks cost queries.
 */
export function createReadiness(checks: Readonly<Record<string, ReadinessCheck>>): FindNotReady {
  let running: Promise<NotReady[]> | undefined;
  const look = async () => {
    const answers = await Promise.all(
      Object.entries(checks).map(async ([name, check]) => ({ name, reason: await reasonOf(check) })),
    );
    return answers.flatMap(({ name, reason }) => (reason === undefined ? [] : [{ name, reason }]));
  };
  return () => {
    running ??= look().finally(() => {
      running = undefined;
    });
    return running;
  };
}

async function reasonOf(check: ReadinessCheck): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve("no answer in time"), CHECK_TIMEOUT_MS);
  });
  try {
    return await Promise.race([check(), late]);
  } catch {
    // What a check throws is for its own log: the answer is open to anyone.
    return "the check failed";
  } finally {
    clearTimeout(timer);
  }
}
