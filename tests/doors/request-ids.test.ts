import type { DescMethodUnary, JsonValue, MessageInitShape } from "@bufbuild/protobuf";
import { fromJson, toJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TaskState } from "../../gen/drover/v1/task_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { TokenRole, TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { TrackerService } from "../../gen/drover/v1/tracker_service_pb.js";
import { UNARY_METHODS } from "../helpers/contract.ts";
import { messageOf, refusalOf } from "../helpers/door-client.ts";
import { DOORS, type DoorName, useDoors } from "../helpers/door-suite.ts";
import { newAgent, newToken, uniqueName } from "../helpers/fleet.ts";

const { heartbeat, reportError, rotateToken } = AgentService.method;
const { listAgents, removeAgent, resetAgent } = FleetService.method;
const { cancelTask, createTask } = TaskService.method;
const { createToken } = TokenService.method;

const doors = useDoors();

/** A mutation to be repeated: who makes it, with what, and how often it has had its effect. */
interface Mutation {
  token: string;
  request: object;
  /** A different request for the same id, where there is one. */
  other?: object;
  effects: () => Promise<number>;
}

async function count(statement: TemplateStringsArray, ...values: unknown[]): Promise<number> {
  const rows = await doors.server.database<{ n: bigint }>(statement, ...values);
  return Number(rows[0]?.n);
}

const uuidOf = (id: string) => id.slice(id.indexOf("_") + 1);
const fatal = { status: AgentStatus.ONLINE, error: { severity: Severity.FATAL, message: "gone" } };

async function newTracker(): Promise<string> {
  const request = { repository: `acme/${uniqueName("repository")}`, disabled: true };
  const { createTracker } = TrackerService.method;
  const token = doors.server.operatorToken;
  return messageOf(await doors.anyDoor.call(createTracker, request, { token })).tracker?.id ?? "";
}

const cordoning = async (
  request: (agent: string) => object,
  action: string,
  other: object = { agent: "another" },
): Promise<Mutation> => {
  const { name, id } = await newAgent(doors);
  return {
    token: doors.server.operatorToken,
    request: request(name),
    other,
    effects: () =>
      count`SELECT count(*) AS n FROM audit_entries WHERE subject = ${id} AND action = ${action}`,
  };
};

/** A task that an agent may claim. */
async function offered() {
  const { token } = await newAgent(doors);
  const kind = uniqueName("kind");
  const { task } = messageOf(
    await doors.anyDoor.call(createTask, { kind }, { token: doors.server.operatorToken }),
  );
  return { token, kind, id: task?.id ?? "" };
}

/** A task that an agent holds. */
async function lent() {
  const { token, kind, id } = await offered();
  messageOf(await doors.anyDoor.call(AgentService.method.claimTasks, { kinds: [kind] }, { token }));
  return { token, id };
}

/** Every method that takes a request_id, with a fresh mutation of it. */
const mutations: Readonly<Record<string, () => Promise<Mutation>>> = {
  ReportError: async () => {
    const { token, id } = await newAgent(doors);
    return {
      token,
      request: {
        severity: Severity.MAJOR,
        message: "hot",
        context: { b: 1, a: [1, { c: null }], "10": 2, "9": 3 },
      },
      other: { severity: Severity.MAJOR, message: "cold" },
      effects: () => count`SELECT count(*) AS n FROM error_reports WHERE agent_id = ${uuidOf(id)}::uuid`,
    };
  },
  RotateToken: async () => {
    const { token, id } = await newAgent(doors);
    return {
      token,
      request: {},
      effects: async () =>
        (await count`SELECT count(*) AS n FROM tokens WHERE agent_id = ${uuidOf(id)}::uuid`) - 1,
    };
  },
  Leave: async () => {
    const { token, id } = await newAgent(doors);
    messageOf(await doors.anyDoor.call(heartbeat, { status: AgentStatus.ONLINE }, { token }));
    return {
      token,
      request: {},
      effects: () =>
        count`SELECT count(*) AS n FROM audit_entries
          WHERE subject = ${id} AND field = 'liveness' AND to_value = 'offline'`,
    };
  },
  ResetAgent: async () => {
    const { name, id, token } = await newAgent(doors);
    messageOf(await doors.anyDoor.call(heartbeat, fatal, { token }));
    return {
      token: doors.server.operatorToken,
      request: { agent: name },
      other: { agent: "another" },
      effects: () =>
        count`SELECT count(*) AS n FROM audit_entries
          WHERE subject = ${id} AND reason = 'reset by an operator'`,
    };
  },
  RemoveAgent: async () => {
    const { name, id } = await newAgent(doors);
    return {
      token: doors.server.operatorToken,
      request: { agent: name },
      other: { agent: "another" },
      effects: () =>
        count`SELECT count(*) AS n FROM audit_entries WHERE subject = ${id} AND action = 'agent.removed'`,
    };
  },
  CordonAgent: () => cordoning((agent) => ({ agent }), "agent.cordoned"),
  DrainAgent: () => cordoning((agent) => ({ agent, deadline: { seconds: 60n } }), "agent.draining"),
  BatchCordonAgents: () => cordoning((namePrefix) => ({ namePrefix }), "agent.cordoned", { all: true }),
  BatchDrainAgents: () =>
    cordoning((namePrefix) => ({ namePrefix, deadline: { seconds: 60n } }), "agent.draining", { all: true }),
  BatchUncordonAgents: async () => {
    const { name, id } = await newAgent(doors);
    const token = doors.server.operatorToken;
    messageOf(await doors.anyDoor.call(FleetService.method.cordonAgent, { agent: name }, { token }));
    return {
      token,
      request: { namePrefix: name },
      other: { namePrefix: "another" },
      effects: () =>
        count`SELECT count(*) AS n FROM audit_entries WHERE subject = ${id} AND action = 'agent.uncordoned'`,
    };
  },
  UncordonAgent: async () => {
    const { name, id } = await newAgent(doors);
    const token = doors.server.operatorToken;
    messageOf(await doors.anyDoor.call(FleetService.method.cordonAgent, { agent: name }, { token }));
    return {
      token,
      request: { agent: name },
      other: { agent: "another" },
      effects: () =>
        count`SELECT count(*) AS n FROM audit_entries WHERE subject = ${id} AND action = 'agent.uncordoned'`,
    };
  },
  SendCommand: async () => {
    const { name, id } = await newAgent(doors);
    return {
      token: doors.server.operatorToken,
      request: { agent: name, kind: "echo" },
      other: { agent: name, kind: "shutDown" },
      effects: () => count`SELECT count(*) AS n FROM agent_commands WHERE agent_id = ${uuidOf(id)}::uuid`,
    };
  },
  CreateTask: async () => {
    const kind = uniqueName("kind");
    return {
      token: doors.server.operatorToken,
      request: {
        kind,
        payload: fromJson(ValueSchema, { b: 1, a: [1, null] }),
        labels: { z: "1", "10": "x", "9": "y" },
      },
      other: { kind, priority: 9 },
      effects: () => count`SELECT count(*) AS n FROM tasks WHERE kind = ${kind}`,
    };
  },
  BatchCreateTasks: async () => {
    const kind = uniqueName("kind");
    return {
      token: doors.server.operatorToken,
      request: {
        requests: [
          { kind, requiredLabels: { z: "1", "10": "x", "9": "y" } },
          { kind, priority: 1 },
        ],
      },
      other: { requests: [{ kind }] },
      effects: async () => (await count`SELECT count(*) AS n FROM tasks WHERE kind = ${kind}`) / 2,
    };
  },
  RetryTask: async () => {
    const token = doors.server.operatorToken;
    const created = messageOf(await doors.anyDoor.call(createTask, { kind: "to-retry" }, { token }));
    const id = created.task?.id ?? "";
    messageOf(await doors.anyDoor.call(cancelTask, { task: id }, { token }));
    return {
      token,
      request: { task: id, reason: "needed after all" },
      other: { task: id },
      effects: () =>
        count`SELECT count(*) AS n FROM audit_entries WHERE subject = ${id} AND action = 'task.requeued'`,
    };
  },
  ClaimTasks: async () => {
    const { token, kind, id } = await offered();
    return {
      token,
      request: { kinds: [kind] },
      other: { kinds: [kind], max: 2 },
      effects: () => count`SELECT attempt AS n FROM tasks WHERE id = ${uuidOf(id)}::uuid`,
    };
  },
  UpdateTask: async () => {
    const { token, id } = await lent();
    return {
      token,
      request: { task: id, leaseEpoch: 1n, progress: 0.5 },
      other: { task: id, leaseEpoch: 1n, progress: 0.6 },
      effects: () =>
        count`SELECT count(*) AS n FROM events WHERE task_id = ${uuidOf(id)}::uuid AND type = 'task.started'`,
    };
  },
  CompleteTask: async () => {
    const { token, id } = await lent();
    return {
      token,
      request: { task: id, leaseEpoch: 1n, result: fromJson(ValueSchema, { b: 1, a: 2 }) },
      other: { task: id, leaseEpoch: 1n },
      effects: () =>
        count`SELECT count(*) AS n FROM events WHERE task_id = ${uuidOf(id)}::uuid AND type = 'task.succeeded'`,
    };
  },
  FailTask: async () => {
    const { token, id } = await lent();
    return {
      token,
      request: { task: id, leaseEpoch: 1n, error: { message: "no" }, retryable: false },
      other: { task: id, leaseEpoch: 1n, error: { message: "not at all" } },
      effects: () =>
        count`SELECT count(*) AS n FROM audit_entries WHERE subject = ${id} AND action = 'task.failed'`,
    };
  },
  BatchCancelTasks: async () => {
    const kind = uniqueName("kind");
    const token = doors.server.operatorToken;
    const created = messageOf(await doors.anyDoor.call(createTask, { kind }, { token }));
    const id = created.task?.id ?? "";
    return {
      token,
      request: { kind: [kind] },
      other: { kind: ["another"] },
      effects: () =>
        count`SELECT count(*) AS n FROM audit_entries WHERE subject = ${id} AND action = 'task.cancelled'`,
    };
  },
  BatchRetryTasks: async () => {
    const kind = uniqueName("kind");
    const token = doors.server.operatorToken;
    const created = messageOf(await doors.anyDoor.call(createTask, { kind }, { token }));
    const id = created.task?.id ?? "";
    messageOf(await doors.anyDoor.call(cancelTask, { task: id }, { token }));
    return {
      token,
      request: { kind: [kind], state: [TaskState.CANCELLED] },
      other: { kind: ["another"] },
      effects: () =>
        count`SELECT count(*) AS n FROM audit_entries WHERE subject = ${id} AND action = 'task.requeued'`,
    };
  },
  CancelTask: async () => {
    const token = doors.server.operatorToken;
    const created = messageOf(await doors.anyDoor.call(createTask, { kind: "to-cancel" }, { token }));
    const id = created.task?.id ?? "";
    return {
      token,
      request: { task: id, reason: "not needed" },
      other: { task: id },
      effects: () =>
        count`SELECT count(*) AS n FROM audit_entries WHERE subject = ${id} AND action = 'task.cancelled'`,
    };
  },
  CreateToken: async () => {
    const label = uniqueName("label");
    return {
      token: doors.server.operatorToken,
      request: {
        role: TokenRole.VIEWER,
        labels: { z: label, a: "1", "10": "x", "9": "y" },
        ttl: { seconds: 60n },
      },
      other: { role: TokenRole.VIEWER },
      effects: () => count`SELECT count(*) AS n FROM tokens WHERE labels->>'z' = ${label}`,
    };
  },
  RevokeToken: async () => {
    const { id } = await newToken(doors, { role: TokenRole.VIEWER });
    return {
      token: doors.server.operatorToken,
      request: { token: id },
      other: { token: "token_01900000-0000-7000-8000-000000000000" },
      effects: () =>
        count`SELECT count(*) AS n FROM audit_entries WHERE subject = ${id} AND action = 'token.revoked'`,
    };
  },
  CreateProject: async () => {
    const name = uniqueName("project");
    return {
      token: doors.server.operatorToken,
      request: { name },
      other: { name: uniqueName("project") },
      effects: () => count`SELECT count(*) AS n FROM projects WHERE name = ${name}`,
    };
  },
  CreateTracker: async () => {
    const repository = `acme/${uniqueName("repository")}`;
    return {
      token: doors.server.operatorToken,
      request: { repository, disabled: true },
      other: { repository: `acme/${uniqueName("repository")}`, disabled: true },
      effects: () => count`SELECT count(*) AS n FROM trackers WHERE repository = ${repository}`,
    };
  },
  UpdateTracker: async () => {
    const tracker = await newTracker();
    return {
      token: doors.server.operatorToken,
      request: { tracker, credential: "env:SOME_TOKEN" },
      other: { tracker, credential: "env:OTHER_TOKEN" },
      effects: () =>
        count`SELECT count(*) AS n FROM audit_entries WHERE subject = ${tracker} AND action = 'tracker.updated'`,
    };
  },
  DeleteTracker: async () => {
    const tracker = await newTracker();
    return {
      token: doors.server.operatorToken,
      request: { tracker },
      other: { tracker: "tracker_01900000-0000-7000-8000-000000000000" },
      effects: () =>
        count`SELECT count(*) AS n FROM audit_entries WHERE subject = ${tracker} AND action = 'tracker.deleted'`,
    };
  },
};

const methods = UNARY_METHODS.filter(({ input }) => input.fields.some(({ name }) => name === "request_id"));

async function send(
  name: DoorName,
  method: DescMethodUnary,
  { token }: Mutation,
  request: object,
  requestId: string,
) {
  // The table holds requests of many methods; each is sent with its own.
  const init = { ...request, requestId } as MessageInitShape<typeof method.input>;
  return await doors.door(name).call(method, init, { token });
}

/** An answer without its secret, which no repeat can give again. */
function withoutSecret(method: DescMethodUnary, outcome: Awaited<ReturnType<typeof send>>): JsonValue {
  const json = toJson(method.output, messageOf(outcome));
  // What remains of a lease is told as it is when it is told.
  const still = JSON.parse(JSON.stringify(json, (key, value) => (key === "remaining" ? "" : value)));
  return "secret" in still ? { ...still, secret: "" } : still;
}

const mutationOf = (method: DescMethodUnary): Promise<Mutation> => {
  const make = mutations[method.name];
  if (make === undefined) throw new Error(`${method.name} takes a request_id and has no test of it`);
  return make();
};

describe.each(methods.map((method) => ({ name: method.name, method })))("$name", ({ method }) => {
  test.each(DOORS)(
    "made through %s, then repeated through every door, has one effect and one answer",
    async (name) => {
      const mutation = await mutationOf(method);
      const requestId = uniqueName("request");
      const first = withoutSecret(method, await send(name, method, mutation, mutation.request, requestId));
      expect(await mutation.effects()).toBe(1);
      for (const again of DOORS) {
        const repeat = await send(again, method, mutation, mutation.request, requestId);
        expect([again, withoutSecret(method, repeat)]).toEqual([again, first]);
      }
      expect(await mutation.effects()).toBe(1);
    },
  );

  test("sent through every door at once has one effect and one answer", async () => {
    const mutation = await mutationOf(method);
    const requestId = uniqueName("request");
    const outcomes = await Promise.all(
      DOORS.map((name) => send(name, method, mutation, mutation.request, requestId)),
    );
    const answers = new Set(outcomes.map((outcome) => JSON.stringify(withoutSecret(method, outcome))));
    expect(answers.size).toBe(1);
    expect(await mutation.effects()).toBe(1);
  });

  test("is audited under its id, once for all its repeats", async () => {
    const mutation = await mutationOf(method);
    const requestId = uniqueName("request");
    const entries = () => count`SELECT count(*) AS n FROM audit_entries WHERE request_id = ${requestId}`;
    messageOf(await send("REST", method, mutation, mutation.request, requestId));
    const written = await entries();
    // An error is its own record: who reported it, and when; of loans and successes the attempts tell.
    if (["ReportError", "ClaimTasks", "UpdateTask", "CompleteTask"].includes(method.name))
      expect(written).toBe(0);
    else expect(written).toBeGreaterThan(0);
    messageOf(await send("REST", method, mutation, mutation.request, requestId));
    // A repeat that brings a fresh secret ends the one before, and says so.
    if (!["RotateToken", "CreateToken"].includes(method.name)) expect(await entries()).toBe(written);
  });

  test("the id of another request is refused by name", async () => {
    const mutation = await mutationOf(method);
    if (mutation.other === undefined) return;
    const requestId = uniqueName("request");
    messageOf(await send("REST", method, mutation, mutation.request, requestId));
    for (const name of DOORS) {
      const refusal = refusalOf(await send(name, method, mutation, mutation.other, requestId));
      expect(refusal.code).toBe(Code.InvalidArgument);
      expect(refusal.violations.map(({ field }) => field)).toEqual(["request_id"]);
    }
  });
});

describe.each(DOORS)("%s", (name) => {
  test("a repeat gives a fresh secret for the same token, and the one before is dead", async () => {
    const mutation = await mutationOf(createToken);
    const requestId = uniqueName("request");
    const secrets: string[] = [];
    for (const door of [name, ...DOORS]) {
      const init = { ...mutation.request, role: TokenRole.VIEWER, requestId };
      const { secret } = messageOf(await doors.door(door).call(createToken, init, { token: mutation.token }));
      for (const old of secrets) {
        expect(refusalOf(await doors.door(door).call(listAgents, {}, { token: old })).code).toBe(
          Code.Unauthenticated,
        );
      }
      messageOf(await doors.door(door).call(listAgents, {}, { token: secret }));
      expect(secrets).not.toContain(secret);
      secrets.splice(0, secrets.length, secret);
    }
  });

  test("a repeated rotation leaves one working renewal, and the token in use until that is used", async () => {
    const { token } = await newAgent(doors);
    const requestId = uniqueName("request");
    const door = doors.door(name);
    const first = messageOf(await doors.anyDoor.call(rotateToken, { requestId }, { token })).secret;
    const second = messageOf(await door.call(rotateToken, { requestId }, { token })).secret;
    expect(second).not.toBe(first);
    const beat = { status: AgentStatus.ONLINE };
    expect(refusalOf(await door.call(heartbeat, beat, { token: first })).code).toBe(Code.Unauthenticated);
    messageOf(await door.call(heartbeat, beat, { token }));
    messageOf(await door.call(heartbeat, beat, { token: second }));
    expect(refusalOf(await door.call(heartbeat, beat, { token })).code).toBe(Code.Unauthenticated);
  });

  test("one id of two callers is two requests", async () => {
    const requestId = uniqueName("request");
    const request = { severity: Severity.MINOR, message: "mine", requestId };
    const [one, two] = [await newAgent(doors), await newAgent(doors)];
    const ids: (string | undefined)[] = [];
    for (const { token } of [one, two]) {
      ids.push(messageOf(await doors.door(name).call(reportError, request, { token })).errorReport?.id);
    }
    expect(new Set(ids).size).toBe(2);
  });

  test("a refused request leaves its id unused", async () => {
    const requestId = uniqueName("request");
    const token = doors.server.operatorToken;
    const agent = uniqueName("late");
    const door = doors.door(name);
    expect(refusalOf(await door.call(removeAgent, { agent, requestId }, { token })).code).toBe(Code.NotFound);
    await newAgent(doors, { name: agent });
    messageOf(await door.call(removeAgent, { agent, requestId }, { token }));
  });

  test("without an id every call counts", async () => {
    const { token, name: agent } = await newAgent(doors);
    const door = doors.door(name);
    for (let i = 0; i < 2; i++) {
      messageOf(await door.call(reportError, { severity: Severity.MINOR, message: "again" }, { token }));
    }
    messageOf(await door.call(resetAgent, { agent }, { token: doors.server.operatorToken }));
    expect(
      await count`SELECT count(*) AS n FROM error_reports r JOIN agents a ON a.id = r.agent_id
      WHERE a.name = ${agent}`,
    ).toBe(2);
  });
});
