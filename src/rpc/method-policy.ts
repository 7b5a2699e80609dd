import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { PassService } from "../../gen/drover/v1/pass_service_pb.js";
import { ProjectService } from "../../gen/drover/v1/project_service_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { TrackerService } from "../../gen/drover/v1/tracker_service_pb.js";
import { Health } from "../../gen/grpc/health/v1/health_pb.js";
import { ServerReflection } from "../../gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as ServerReflectionV1Alpha } from "../../gen/grpc/reflection/v1alpha/reflection_pb.js";
import type { Role } from "../identity/caller.ts";

/** What holds for every call of one method, whatever its door. */
export interface MethodPolicy {
  /** Roles that may call it; `anyone` needs no token. */
  roles: readonly Role[] | "anyone";
  /** Whether an agent's token may still call it after it expired, which is for renewing that token alone. */
  expiredTokenMayCall?: true;
  /** For a stream that answers a bad message and goes on: it checks each message that it reads by the same rule. */
  validatesItself?: true;
  /** Whether it changes anything. Reading methods leave no audit entry. */
  audit: "changes" | "reads";
}

const readers = ["viewer", "operator"] as const;
const operators = ["operator"] as const;

type PolicyOf<S extends DescService> = Record<keyof S["method"], MethodPolicy>;

const agentService = {
  enroll: { roles: ["enrollment"], audit: "changes" },
  heartbeat: { roles: ["agent"], audit: "changes" },
  reportError: { roles: ["agent"], audit: "changes" },
  rotateToken: { roles: ["agent"], expiredTokenMayCall: true, audit: "changes" },
  claimTasks: { roles: ["agent"], audit: "changes" },
  updateTask: { roles: ["agent"], audit: "changes" },
  completeTask: { roles: ["agent"], audit: "changes" },
  failTask: { roles: ["agent"], audit: "changes" },
  leave: { roles: ["agent"], audit: "changes" },
  watchCommands: { roles: ["agent"], audit: "changes" },
  session: { roles: ["agent"], validatesItself: true, audit: "changes" },
} satisfies PolicyOf<typeof AgentService>;

const fleetService = {
  listAgents: { roles: readers, audit: "reads" },
  getAgent: { roles: readers, audit: "reads" },
  explainAgent: { roles: readers, audit: "reads" },
  listAgentSessions: { roles: readers, audit: "reads" },
  resetAgent: { roles: operators, audit: "changes" },
  cordonAgent: { roles: operators, audit: "changes" },
  uncordonAgent: { roles: operators, audit: "changes" },
  drainAgent: { roles: operators, audit: "changes" },
  batchCordonAgents: { roles: operators, audit: "changes" },
  batchUncordonAgents: { roles: operators, audit: "changes" },
  batchDrainAgents: { roles: operators, audit: "changes" },
  removeAgent: { roles: operators, audit: "changes" },
  sendCommand: { roles: operators, audit: "changes" },
  listErrors: { roles: readers, audit: "reads" },
  listErrorGroups: { roles: readers, audit: "reads" },
} satisfies PolicyOf<typeof FleetService>;

const taskService = {
  createTask: { roles: operators, audit: "changes" },
  batchCreateTasks: { roles: operators, audit: "changes" },
  getTask: { roles: readers, audit: "reads" },
  listTasks: { roles: readers, audit: "reads" },
  explainTask: { roles: readers, audit: "reads" },
  listAttempts: { roles: readers, audit: "reads" },
  retryTask: { roles: operators, audit: "changes" },
  cancelTask: { roles: operators, audit: "changes" },
  batchCancelTasks: { roles: operators, audit: "changes" },
  batchRetryTasks: { roles: operators, audit: "changes" },
} satisfies PolicyOf<typeof TaskService>;

const eventService = {
  watchEvents: { roles: readers, audit: "reads" },
  listEvents: { roles: readers, audit: "reads" },
  listAuditEntries: { roles: readers, audit: "reads" },
  exportAuditEntries: { roles: readers, audit: "reads" },
} satisfies PolicyOf<typeof EventService>;

const tokenService = {
  createToken: { roles: operators, audit: "changes" },
  listTokens: { roles: operators, audit: "reads" },
  getToken: { roles: operators, audit: "reads" },
  revokeToken: { roles: operators, audit: "changes" },
} satisfies PolicyOf<typeof TokenService>;

const projectService = {
  createProject: { roles: operators, audit: "changes" },
  listProjects: { roles: operators, audit: "reads" },
} satisfies PolicyOf<typeof ProjectService>;

const passService = {
  // Whether an agent names itself is the handler's to see.
  runHeartbeatPass: { roles: ["agent", "runner", "operator"], audit: "changes" },
  listRuns: { roles: readers, audit: "reads" },
  getRun: { roles: readers, audit: "reads" },
} satisfies PolicyOf<typeof PassService>;

const trackerService = {
  createTracker: { roles: operators, audit: "changes" },
  getTracker: { roles: readers, audit: "reads" },
  listTrackers: { roles: readers, audit: "reads" },
  updateTracker: { roles: operators, audit: "changes" },
  deleteTracker: { roles: operators, audit: "changes" },
  listIssues: { roles: readers, audit: "reads" },
} satisfies PolicyOf<typeof TrackerService>;

const health = {
  check: { roles: "anyone", audit: "reads" },
  list: { roles: "anyone", audit: "reads" },
  watch: { roles: "anyone", audit: "reads" },
} satisfies PolicyOf<typeof Health>;

const reflection = {
  serverReflectionInfo: { roles: "anyone", audit: "reads" },
} satisfies PolicyOf<typeof ServerReflection> & PolicyOf<typeof ServerReflectionV1Alpha>;

const policies = new Map<string, Readonly<Record<string, MethodPolicy>>>([
  [AgentService.typeName, agentService],
  [EventService.typeName, eventService],
  [FleetService.typeName, fleetService],
  [PassService.typeName, passService],
  [ProjectService.typeName, projectService],
  [TaskService.typeName, taskService],
  [TokenService.typeName, tokenService],
  [TrackerService.typeName, trackerService],
  [Health.typeName, health],
  [ServerReflection.typeName, reflection],
  [ServerReflectionV1Alpha.typeName, reflection],
]);

/** The policy of a method; undefined for one that stands nowhere in the table, which is then refused. */
export function policyOf(method: DescMethod): MethodPolicy | undefined {
  return policies.get(method.parent.typeName)?.[method.localName];
}
