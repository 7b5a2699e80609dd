import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** An issue as a test wants it; what is left out is made up. */
export interface FakeIssue {
  number: number;
  title?: string;
  state?: "open" | "closed";
  labels?: string[];
  updatedAt?: string;
  pullRequest?: boolean;
}

/** A request as the server got it. */
export interface SeenCall {
  path: string;
  query: URLSearchParams;
  authorization: string | undefined;
  etag: string | undefined;
}

/** Answers a request in place of the repository; false leaves it to the repository. */
export type Misbehaviour = (call: SeenCall, answer: ServerResponse) => boolean;

/** GitHub's REST API as documented, as far as trackers use it, for repositories of the test's own. */
export interface FakeGitHub {
  readonly url: string;
  /** The setting that lets trackers come here. */
  readonly allowed: string;
  readonly calls: SeenCall[];
  /** Puts issues into a repository (`owner/name`), over those of the same number. */
  put(repository: string, issues: readonly FakeIssue[]): void;
  /** Takes an issue away, as a deletion does: no list tells of it. */
  remove(repository: string, number: number): void;
  /** What the repository's calls meet from now on; undefined is good behaviour. */
  misbehave(repository: string, how: Misbehaviour | undefined): void;
  stop(): Promise<void>;
}

export async function startFakeGitHub(): Promise<FakeGitHub> {
  const repositories = new Map<string, Map<number, FakeIssue>>();
  const misbehaviours = new Map<string, Misbehaviour>();
  const calls: SeenCall[] = [];
  const server = createServer((request, answer) => {
    const call = seen(request);
    calls.push(call);
    const [, owner, name] = /^\/repos\/([^/]+)\/([^/]+)\/issues/.exec(call.path) ?? [];
    const repository = `${owner}/${name}`;
    if (misbehaviours.get(repository)?.(call, answer) === true) return;
    const issues = repositories.get(repository);
    if (issues === undefined) return sendJson(answer, 404, { message: "Not Found" });
    const number = /\/issues\/(\d+)$/.exec(call.path)?.[1];
    if (number === undefined) return sendPage(answer, call, repository, [...issues.values()]);
    const issue = issues.get(Number(number));
    if (issue === undefined) return sendJson(answer, 404, { message: "Not Found" });
    return sendJson(answer, 200, payloadOf(repository, issue));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // The server listens on TCP.
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    allowed: url,
    calls,
    put(repository, issues) {
      const all = repositories.get(repository) ?? new Map<number, FakeIssue>();
      for (const issue of issues) all.set(issue.number, issue);
      repositories.set(repository, all);
    },
    remove: (repository, number) => void repositories.get(repository)?.delete(number),
    misbehave(repository, how) {
      if (how === undefined) misbehaviours.delete(repository);
      else misbehaviours.set(repository, how);
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function seen({ url = "", headers }: IncomingMessage): SeenCall {
  const { pathname, searchParams } = new URL(url, "http://fake");
  const etag = headers["if-none-match"];
  return { path: pathname, query: searchParams, authorization: headers.authorization, etag };
}

export function sendJson(
  answer: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  answer.writeHead(status, { "content-type": "application/json; charset=utf-8", ...headers });
  answer.end(JSON.stringify(body));
}

/** Answers with an unconditional refusal, whatever is asked. */
export function always(status: number, headers: Record<string, string> = {}): Misbehaviour {
  return (_call, answer) => {
    sendJson(answer, status, { message: "no" }, headers);
    return true;
  };
}

const DEFAULT_TIME = "2024-01-01T00:00:00Z";

function sendPage(answer: ServerResponse, call: SeenCall, repository: string, all: FakeIssue[]): void {
  const { query, path } = call;
  const since = Date.parse(query.get("since") ?? DEFAULT_TIME);
  const perPage = Number(query.get("per_page") ?? 30);
  const page = Number(query.get("page") ?? 1);
  const found = all
    .filter((issue) => Date.parse(issue.updatedAt ?? DEFAULT_TIME) >= since)
    .filter((issue) => query.get("state") === "all" || (issue.state ?? "open") === "open")
    .sort(
      (a, b) =>
        Date.parse(a.updatedAt ?? DEFAULT_TIME) - Date.parse(b.updatedAt ?? DEFAULT_TIME) ||
        a.number - b.number,
    );
  const items = found
    .slice((page - 1) * perPage, page * perPage)
    .map((issue) => payloadOf(repository, issue));
  const etag = `W/"${Buffer.from(
    JSON.stringify(items.map((item) => [item.number, item.updated_at, item.title])),
  )
    .toString("base64url")
    .slice(-40)}-${found.length}"`;
  if (call.etag === etag) {
    answer.writeHead(304, { etag });
    answer.end();
    return;
  }
  const next = new URLSearchParams(query);
  next.set("page", String(page + 1));
  const link =
    found.length > page * perPage
      ? { link: `<http://${answer.req.headers.host}${path}?${next}>; rel="next"` }
      : {};
  sendJson(answer, 200, items, { etag, "x-ratelimit-remaining": "4999", ...link });
}

export function payloadOf(repository: string, issue: FakeIssue) {
  const { number, title = `Issue ${number}`, state = "open", labels = [] } = issue;
  const time = issue.updatedAt ?? DEFAULT_TIME;
  const url = urlOf(repository, number);
  return {
    id: number,
    node_id: `I_${number}`,
    url: `https://api.github.com/repos/${repository}/issues/${number}`,
    html_url: url,
    number,
    title,
    state,
    locked: false,
    labels: labels.map((name, id) => ({ id, name, color: "ededed", default: false })),
    user: { login: "octocat", id: 1, type: "User", site_admin: false },
    assignee: null,
    milestone: null,
    comments: 0,
    body: "what is to be done",
    created_at: DEFAULT_TIME,
    updated_at: time,
    closed_at: state === "closed" ? time : null,
    author_association: "NONE",
    ...(issue.pullRequest === true && { pull_request: { html_url: url } }),
  };
}

/** Where people see an issue. */
export function urlOf(repository: string, number: number): string {
  return `https://github.com/${repository}/issues/${number}`;
}
