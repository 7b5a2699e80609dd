import { afterAll, afterEach, beforeAll } from "vitest";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { type FakeGitHub, startFakeGitHub } from "../helpers/fake-github.ts";

/** An answer of the REST door. */
export interface RestAnswer {
  status: number;
  // Tests look into what came by the names of the contract.
  // biome-ignore lint/suspicious/noExplicitAny: the JSON of many answers
  body: any;
}

/** A server with a GitHub beside it. */
export interface PassBench {
  readonly server: TestControlPlane;
  readonly github: FakeGitHub;
  rest(method: string, path: string, body?: unknown, token?: string, project?: string): Promise<RestAnswer>;
  /** A project of its own; resolves to what makes calls in it. */
  project(): Promise<ProjectBench>;
}

export interface ProjectBench {
  name: string;
  rest(method: string, path: string, body?: unknown): Promise<RestAnswer>;
  /** Adds a tracker of a fake repository; resolves to its id. */
  tracker(repository: string, more?: object): Promise<string>;
  /** Runs a pass for a name that nobody has; resolves to the answer's JSON. */
  pass(): Promise<RestAnswer["body"]>;
}

let count = 0;

export function usePasses(settings: Record<string, string> = {}): PassBench {
  let opened: { server: TestControlPlane; github: FakeGitHub } | undefined;
  const get = () => {
    if (opened === undefined) throw new Error("the server starts before the first test");
    return opened;
  };
  beforeAll(async () => {
    const github = await startFakeGitHub();
    const allowed = { DROVER_TRACKER_ALLOWED_HOSTS: github.allowed };
    opened = { github, server: await startControlPlane({ settings: { ...allowed, ...settings } }) };
  });
  afterEach(() => {
    get().github.calls.length = 0;
  });
  afterAll(async () => {
    await opened?.server.stop();
    await opened?.github.stop();
  });
  const rest: PassBench["rest"] = async (method, path, body, token, project) => {
    const { server } = get();
    const response = await fetch(`${server.httpUrl}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token ?? server.operatorToken}`,
        ...(body !== undefined && { "content-type": "application/json" }),
        ...(project !== undefined && { "x-drover-project": project }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: await response.json() };
  };
  return {
    get server() {
      return get().server;
    },
    get github() {
      return get().github;
    },
    rest,
    async project() {
      count += 1;
      const name = `project-${process.pid}-${count}`;
      await rest("POST", "/api/v1/projects", { name });
      const inProject: ProjectBench["rest"] = (method, path, body) =>
        rest(method, path, body, undefined, name);
      return {
        name,
        rest: inProject,
        async tracker(repository, more = {}) {
          const made = await inProject("POST", "/api/v1/trackers", {
            repository,
            baseUrl: get().github.url,
            ...more,
          });
          if (made.status !== 200) throw new Error(JSON.stringify(made.body));
          return made.body.id;
        },
        async pass() {
          const { status, body } = await inProject("POST", "/api/agents/nobody/heartbeat");
          if (status !== 200) throw new Error(JSON.stringify(body));
          return body;
        },
      };
    },
  };
}

/** The addresses of issues in an answer, sorted. */
export function sorted(urls: string[]): string[] {
  return [...urls].sort();
}
