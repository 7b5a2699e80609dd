import { Octokit } from "@octokit/core";
import { retry } from "@octokit/plugin-retry";
import { throttling } from "@octokit/plugin-throttling";
import { z } from "zod";
import type { AllowedHost } from "./address-guard.ts";
import { cleanText } from "./clean-text.ts";
import { createGuardedFetch } from "./guarded-fetch.ts";
import { type FetchedPage, type Tracker, TrackerFailure, type UpstreamIssue } from "./tracker.ts";

export interface GitHubSettings {
  /** `https://api.github.com`, or `https://HOST/api/v3`. */
  baseUrl: string;
  /** `owner/name`. */
  repository: string;
  credential: string | undefined;
  allowed: readonly AllowedHost[];
  /** For one answer. */
  timeoutMs: number;
}

const PER_PAGE = 100;
/** A hundred issues with bodies of 64 KiB each, and what stands around them. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
/** 5xx and broken connections are tried again after a quarter of a second and after one. */
const RETRIES = 2;
const RETRY_BASE_MS = 250;
/** A rest that GitHub asks for is waited out where it is no longer; otherwise the next pass goes on. */
const LONGEST_REST_S = 3;
const DEFAULT_REST_MS = 60_000;

const DroverOctokit = Octokit.plugin(retry, throttling);

const instant = z.iso.datetime({ offset: true });
const issueShape = z.object({
  number: z.int().positive(),
  html_url: z.url({ protocol: /^https?$/ }).max(2048),
  title: z.string(),
  state: z.enum(["open", "closed"]),
  labels: z.array(z.union([z.string(), z.object({ name: z.string().nullish() })])),
  user: z.object({ login: z.string() }).nullish(),
  created_at: instant,
  updated_at: instant,
  closed_at: instant.nullish(),
  // Every pull request is listed as an issue, and told by this.
  pull_request: z.unknown().optional(),
});
const pageShape = z.array(issueShape).max(PER_PAGE);

/** A repository on GitHub or GitHub Enterprise. */
export function createGitHubTracker(settings: GitHubSettings): Tracker {
  const { baseUrl, repository, credential, allowed, timeoutMs } = settings;
  const guarded = createGuardedFetch({ baseUrl, allowed, timeoutMs, maxBytes: MAX_ANSWER_BYTES });
  const octokit = new DroverOctokit({
    baseUrl,
    ...(credential !== undefined && { auth: credential }),
    userAgent: "drover",
    request: { fetch: guarded.fetch },
    retry: {
      retries: RETRIES,
      retryAfterBaseValue: RETRY_BASE_MS,
      doNotRetry: [400, 401, 403, 404, 410, 422, 429, 451],
    },
    throttle: {
      // Each repository's calls stand in a line of their own, so that a slow one holds up no other.
      id: `${baseUrl} ${repository}`,
      onRateLimit: (restS, _options, _octokit, retries) => retries === 0 && restS <= LONGEST_REST_S,
      onSecondaryRateLimit: (restS, _options, _octokit, retries) => retries === 0 && restS <= LONGEST_REST_S,
    },
    // What it would print goes to the console.
    log: { debug() {}, info() {}, warn() {}, error() {} },
  });
  const [owner = "", repo = ""] = repository.split("/");
  const ask = async (route: string, parameters: Record<string, unknown>, signal: AbortSignal) => {
    try {
      return await untilAborted(
        octokit.request(route, { owner, repo, ...parameters, request: { signal } }),
        signal,
      );
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  };
  return {
    async fetchChanges({ since, page, etag }, signal) {
      const query = { state: "all", sort: "updated", direction: "asc", per_page: PER_PAGE, page };
      try {
        const { status, headers, data } = await ask(
          "GET /repos/{owner}/{repo}/issues",
          {
            ...query,
            ...(since !== undefined && { since }),
            headers: etag === "" ? {} : { "if-none-match": etag },
          },
          signal,
        );
        if (status !== 200) throw new TrackerFailure("refused", `it answered with status ${status}`);
        return pageOf(data, headers, (text) => withoutSecret(text, credential));
      } catch (error) {
        if (statusOf(error) === 304) return { kind: "unchanged" };
        throw signal.aborted ? error : failureOf(error);
      }
    },
    async hasIssue(number, signal) {
      try {
        const { status } = await ask(
          "GET /repos/{owner}/{repo}/issues/{number}",
          { number, headers: {} },
          signal,
        );
        // An issue that was moved to another repository redirects there.
        return status === 200;
      } catch (error) {
        const status = statusOf(error);
        if (status === 404 || status === 410) return false;
        throw signal.aborted ? error : failureOf(error);
      }
    },
    close: () => guarded.close(),
  };
}

function pageOf(data: unknown, headers: Headers, clean: (text: string) => string): FetchedPage {
  const parsed = pageShape.safeParse(data);
  if (!parsed.success) {
    const [problem] = parsed.error.issues;
    const where = problem === undefined ? "" : ` at ${problem.path.join(".")}`;
    throw new TrackerFailure("bad-answer", `its answer is no list of issues${where}`);
  }
  const issues = parsed.data.filter((each) => each.pull_request == null);
  const updates = parsed.data.map((each) => each.updated_at);
  return {
    kind: "page",
    issues: issues.map((each) => issueOf(each, clean)),
    newest: updates.reduce<string | undefined>(later, undefined),
    more: /<[^>]*>\s*;[^,]*\brel="?next\b/.test(String(headers.link ?? "")),
    etag: printable(String(headers.etag ?? "")),
    restMs: headers["x-ratelimit-remaining"] === "0" ? restOf(headers) : undefined,
  };
}

type Headers = Readonly<Record<string, string | number | undefined>>;

function later(one: string | undefined, other: string): string {
  return one !== undefined && Date.parse(one) >= Date.parse(other) ? one : other;
}

function issueOf(issue: z.infer<typeof issueShape>, clean: (text: string) => string): UpstreamIssue {
  const labels = issue.labels.map((label) => (typeof label === "string" ? label : (label.name ?? "")));
  return {
    number: issue.number,
    url: clean(new URL(issue.html_url).href),
    title: clean(cleanText(issue.title, 1024)),
    author: clean(cleanText(issue.user?.login ?? "", 256)),
    state: issue.state,
    labels: labels
      .filter((label) => label !== "")
      .slice(0, 100)
      .map((label) => clean(cleanText(label, 256))),
    createdAt: issue.created_at,
    updatedAt: issue.updated_at,
    closedAt: issue.closed_at ?? undefined,
  };
}

/** A tracker that sends back what it was shown must not get it into a row. */
function withoutSecret(text: string, credential: string | undefined): string {
  return credential === undefined ? text : text.replaceAll(credential, "[REDACTED]");
}

function printable(etag: string): string {
  return /^[\x20-\x7e]{1,256}$/.test(etag) ? etag : "";
}

/** What octokit throws carries a status, and the answer's headers where there was an answer. */
const requestError = z.object({
  status: z.number(),
  response: z
    .object({ headers: z.record(z.string(), z.union([z.string(), z.number(), z.undefined()])) })
    .optional(),
});

function statusOf(error: unknown): number | undefined {
  const parsed = requestError.safeParse(error);
  return parsed.success && parsed.data.response !== undefined ? parsed.data.status : undefined;
}

function failureOf(error: unknown): TrackerFailure {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth += 1) {
    if (at instanceof TrackerFailure) return at;
  }
  const parsed = requestError.safeParse(error);
  if (!parsed.success || parsed.data.response === undefined) {
    return new TrackerFailure("unreachable", `it cannot be reached (${reasonOf(error)})`, { cause: error });
  }
  const { status, response } = parsed.data;
  const { headers } = response;
  const isLimit = headers["x-ratelimit-remaining"] === "0" || headers["retry-after"] !== undefined;
  if (status === 429 || (status === 403 && isLimit)) {
    return new TrackerFailure("rate-limited", "its rate limit is used up", {
      restMs: restOf(headers),
      cause: error,
    });
  }
  return new TrackerFailure("refused", refusalText(status), { cause: error });
}

function refusalText(status: number): string {
  if (status === 401) return "it does not accept the credential (401)";
  if (status === 403) return "it refuses access (403)";
  if (status === 404) return "it knows no such repository, or shows it to no one with this credential (404)";
  return `it answered with status ${status}`;
}

/** The system's name of a problem, such as ECONNREFUSED; the words of a tracker are not repeated. */
function reasonOf(error: unknown): string {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth += 1) {
    if ("code" in at && typeof at.code === "string" && /^[A-Z0-9_]{1,40}$/.test(at.code)) return at.code;
  }
  return "no answer";
}

/** How long GitHub wants to be left alone: by `retry-after`, or until the reset, both on its own clock. */
function restOf(headers: Headers): number {
  const retryAfterS = Number(headers["retry-after"]);
  if (Number.isFinite(retryAfterS) && retryAfterS > 0) return Math.min(retryAfterS * 1000, 86_400_000);
  const reset = Number(headers["x-ratelimit-reset"]) * 1000;
  const date = Date.parse(String(headers.date ?? ""));
  if (!(reset > 0) || Number.isNaN(date)) return DEFAULT_REST_MS;
  return Math.min(Math.max(reset - date + 1000, 1000), 86_400_000);
}

/** octokit's own waits, between tries, do not look at the signal. */
async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let stop = () => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
    work.catch(() => {});
  }
}
