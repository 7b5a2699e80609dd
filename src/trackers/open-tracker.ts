import { assertNever } from "../runtime/assert-never.ts";
import { type AllowedHost, addressProblem } from "./address-guard.ts";
import { readCredential } from "./credential.ts";
import { createGitHubTracker } from "./github-tracker.ts";
import { type Tracker, TrackerFailure } from "./tracker.ts";
import type { TrackerRecord } from "./tracker-store.ts";

/** Opens what a tracker's row describes. Throws TrackerFailure where its address or its credential will not do. */
export async function openTracker(
  { kind, baseUrl, repository, credential: reference }: TrackerRecord,
  settings: { allowed: readonly AllowedHost[]; timeoutMs: number },
): Promise<Tracker> {
  // The setting may have changed since the row was written.
  const problem = addressProblem(baseUrl, settings.allowed);
  if (problem !== undefined) throw new TrackerFailure("unreachable", `its address ${problem}`);
  const credential = await readCredential(reference);
  switch (kind) {
    case "github":
      return createGitHubTracker({ baseUrl, repository, credential, ...settings });
    default:
      return assertNever(kind);
  }
}
