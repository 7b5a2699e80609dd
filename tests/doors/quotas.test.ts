import { Code } from "@connectrpc/connect";
import { beforeEach, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { type DoorClient, messageOf, refusalOf } from "../helpers/door-client.ts";
import { DOORS, useDoors } from "../helpers/door-suite.ts";
import { newAgent, newProject } from "../helpers/fleet.ts";
import { waitFor } from "../helpers/wait-for.ts";

const { heartbeat, reportError } = AgentService.method;
const { listErrors } = FleetService.method;
const { batchCreateTasks, cancelTask, createTask } = TaskService.method;

const doors = useDoors({
  settings: {
    DROVER_QUOTA_PENDING_TASKS: "3",
    DROVER_QUOTA_PAYLOAD_BYTES: "120",
    DROVER_QUOTA_ERRORS_PER_AGENT: "3",
    DROVER_QUOTA_ERRORS: "5",
  },
});

const EXCEEDED = { code: Code.ResourceExhausted, reason: "QUOTA_EXCEEDED" };
/** Each of another fingerprint, which masks numbers. */
const WORDS = ["fan", "disk", "cable", "driver", "socket", "fuse", "clock", "board", "screw", "lamp"];
const text = (length: number) => ({ kind: { case: "stringValue" as const, value: "x".repeat(length) } });

/** A project of its own for each test: quotas are a project's. */
let operator: string;
beforeEach(async () => {
  ({ operator } = await newProject(doors));
});

const warning = (message: string) => ({ severity: Severity.WARNING, message });
const stored = async () => messageOf(await doors.anyDoor.call(listErrors, {}, { token: operator })).errors;

describe.each(DOORS)("%s", (name) => {
  const create = (request: object = {}) =>
    doors.door(name).call(createTask, { kind: "hash", ...request }, { token: operator });
  const report = (door: DoorClient, token: string, message: string, requestId = "") =>
    door.call(reportError, { severity: Severity.MAJOR, message, requestId }, { token });

  test("as many tasks wait as the quota allows, and no one more", async () => {
    const first = messageOf(await create({ requestId: "first" })).task?.id ?? "";
    const two = { requests: [{ kind: "hash" }, { kind: "hash" }] };
    const three = { requests: [...two.requests, { kind: "hash" }] };
    const refused = refusalOf(await doors.door(name).call(batchCreateTasks, three, { token: operator }));
    expect(refused).toMatchObject(EXCEEDED);
    messageOf(await doors.door(name).call(batchCreateTasks, two, { token: operator }));
    const over = refusalOf(await create());
    expect(over).toMatchObject(EXCEEDED);
    expect(over.message).toContain("DROVER_QUOTA_PENDING_TASKS lets a project have 3 tasks that wait");
    expect(over.retryAfterMs).toBeGreaterThan(0);
    // A repeat is answered, and adds nothing.
    expect(messageOf(await create({ requestId: "first" })).task?.id).toBe(first);
  });

  test("payloads take as much as the quota allows, and no byte more", async () => {
    // As JSON, with its quotes.
    messageOf(await create({ payload: text(98) }));
    const over = refusalOf(await create({ payload: text(19) }));
    expect(over).toMatchObject(EXCEEDED);
    expect(over.message).toContain("DROVER_QUOTA_PAYLOAD_BYTES");
    messageOf(await create({ payload: text(18) }));
  });

  test("an agent's errors, and a project's, are stored up to the quota", async () => {
    const [one, other, third] = await Promise.all([0, 1, 2].map(() => newAgent(doors, {}, operator)));
    if (one === undefined || other === undefined || third === undefined) throw new Error("three agents");
    const door = doors.door(name);
    for (const word of WORDS.slice(0, 3)) messageOf(await report(door, one.token, word, word));
    const over = refusalOf(await report(door, one.token, "lamp"));
    expect(over).toMatchObject(EXCEEDED);
    expect(over.message).toContain("DROVER_QUOTA_ERRORS_PER_AGENT lets an agent have 3 errors stored");
    messageOf(await report(door, one.token, "fan", "fan"));
    for (const word of WORDS.slice(0, 2)) messageOf(await report(door, other.token, word));
    const full = refusalOf(await report(door, third.token, "fan"));
    expect(full).toMatchObject(EXCEEDED);
    expect(full.message).toContain("DROVER_QUOTA_ERRORS lets a project have 5 errors stored");
    expect(await stored()).toHaveLength(5);
  });

  test("no heartbeat is refused for its error: the newest are kept, and a fatal one does all that it should", async () => {
    const { token } = await newAgent(doors, {}, operator);
    const beat = (error: object, status = AgentStatus.ONLINE) =>
      doors.door(name).call(heartbeat, { status, error }, { token });
    for (const word of WORDS) messageOf(await beat(warning(word)));
    const fatal = messageOf(await beat({ severity: Severity.FATAL, message: "gone" }));
    expect(fatal.agentStatus).toBe(AgentStatus.ERROR);
    const messages = (await stored()).map(({ message }) => message);
    expect(messages.slice(0, 2)).toEqual(["gone", WORDS.at(-1)]);
    expect(messages.length).toBeLessThanOrEqual(4);
  });
});

test("a task that ends makes room for another one", async () => {
  const create = () => doors.anyDoor.call(createTask, { kind: "hash" }, { token: operator });
  const ids = [messageOf(await create()), messageOf(await create()), messageOf(await create())];
  expect((await create()).ok).toBe(false);
  messageOf(await doors.anyDoor.call(cancelTask, { task: ids[1]?.task?.id ?? "" }, { token: operator }));
  // What went away is seen by the next count, which comes a second after the one before.
  await waitFor(async () => (await create()).ok);
  expect((await create()).ok).toBe(false);
});
