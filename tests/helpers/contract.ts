import { readdirSync } from "node:fs";
import type { DescMethodUnary, DescService, Message } from "@bufbuild/protobuf";

const folder = new URL("../../gen/drover/v1/", import.meta.url);

/** Every service of the contract, read off the generated code, so that a new one cannot be forgotten. */
export const SERVICES: readonly DescService[] = (
  await Promise.all(
    readdirSync(folder)
      .filter((name) => name.endsWith("_pb.js"))
      .map(async (name): Promise<Record<string, unknown>> => await import(new URL(name, folder).href)),
  )
).flatMap((module) => Object.values(module).filter(isService));

/** Every unary RPC of the contract. */
export const UNARY_METHODS: readonly DescMethodUnary[] = SERVICES.flatMap(({ methods }) =>
  methods.filter((method): method is DescMethodUnary & typeof method => method.methodKind === "unary"),
);

function isService(exported: unknown): exported is DescService {
  return (
    typeof exported === "object" && exported !== null && "kind" in exported && exported.kind === "service"
  );
}

const noTask = "task_01900000-0000-7000-8000-000000000000";

const noTracker = "tracker_01900000-0000-7000-8000-000000000000";

const requests: Readonly<Record<string, (unique: string) => object>> = {
  Enroll: (unique) => ({ name: unique }),
  Heartbeat: () => ({ status: 2 }),
  ReportError: (unique) => ({ severity: 3, message: `nothing much, ${unique}` }),
  RotateToken: () => ({}),
  ClaimTasks: () => ({ kinds: ["nobody-makes-these"] }),
  UpdateTask: () => ({ task: noTask, leaseEpoch: 1n }),
  CompleteTask: () => ({ task: noTask, leaseEpoch: 1n }),
  FailTask: () => ({ task: noTask, leaseEpoch: 1n, error: { message: "no luck" } }),
  Leave: () => ({}),
  ListAgents: () => ({}),
  GetAgent: (unique) => ({ agent: unique }),
  ResetAgent: (unique) => ({ agent: unique }),
  RemoveAgent: (unique) => ({ agent: unique }),
  CordonAgent: (unique) => ({ agent: unique }),
  UncordonAgent: (unique) => ({ agent: unique }),
  DrainAgent: (unique) => ({ agent: unique, deadline: { seconds: 60n } }),
  SendCommand: (unique) => ({ agent: unique, kind: "echo" }),
  ListErrors: () => ({}),
  ListErrorGroups: () => ({}),
  CreateTask: () => ({ kind: "sample" }),
  BatchCordonAgents: (unique) => ({ namePrefix: unique }),
  BatchUncordonAgents: (unique) => ({ namePrefix: unique }),
  BatchDrainAgents: (unique) => ({ namePrefix: unique, deadline: { seconds: 60n } }),
  BatchCancelTasks: (unique) => ({ kind: [unique] }),
  BatchRetryTasks: (unique) => ({ kind: [unique] }),
  BatchCreateTasks: () => ({ requests: [{ kind: "sample" }] }),
  ExplainTask: () => ({ task: noTask }),
  ExplainAgent: (unique) => ({ agent: unique }),
  ListAgentSessions: (unique) => ({ agent: unique }),
  ListAttempts: () => ({ task: noTask }),
  RetryTask: () => ({ task: noTask }),
  GetTask: () => ({ task: noTask }),
  ListTasks: () => ({}),
  CancelTask: () => ({ task: noTask }),
  ListEvents: () => ({}),
  ListAuditEntries: () => ({}),
  CreateToken: () => ({ role: 5 }),
  ListTokens: () => ({}),
  GetToken: () => ({ token: "token_01900000-0000-7000-8000-000000000000" }),
  RevokeToken: () => ({ token: "token_01900000-0000-7000-8000-000000000000" }),
  CreateProject: (unique) => ({ name: unique }),
  ListProjects: () => ({}),
  RunHeartbeatPass: (unique) => ({ agentName: unique }),
  ListRuns: () => ({}),
  GetRun: () => ({ run: "run_01900000-0000-7000-8000-000000000000" }),
  CreateTracker: (unique) => ({ repository: `sample/${unique}`, disabled: true }),
  GetTracker: () => ({ tracker: noTracker }),
  ListTrackers: () => ({}),
  UpdateTracker: () => ({ tracker: noTracker, disabled: true }),
  DeleteTracker: () => ({ tracker: noTracker }),
  ListIssues: () => ({}),
};

/** A valid request of any unary RPC; what it names exists only if `unique` names it. */
export function sampleRequest(method: DescMethodUnary, unique: string): Message {
  const request = requests[method.name];
  if (request === undefined) throw new Error(`${method.name} has no sample request yet`);
  // The table is keyed by method name alone; a wrong shape fails in the call that the sample is for.
  return request(unique) as Message;
}
