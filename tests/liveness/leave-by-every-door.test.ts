import { describe, expect, test } from "vitest";
import { AgentStatus, Liveness } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TaskState } from "../../gen/drover/v1/task_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { messageOf } from "../helpers/door-client.ts";
import { DOORS, useDoors } from "../helpers/door-suite.ts";
import { newAgent, uniqueName } from "../helpers/fleet.ts";

const { heartbeat, claimTasks, leave } = AgentService.method;
const { getAgent, removeAgent } = FleetService.method;
const { createTask, getTask } = TaskService.method;
const { listAuditEntries } = EventService.method;

const doors = useDoors();
const operator = () => ({ token: doors.server.operatorToken });

/** An agent at work: heard once, with a task of its own. */
async function agentAtWork() {
  const agent = await newAgent(doors);
  const { token } = agent;
  messageOf(await doors.anyDoor.call(heartbeat, { status: AgentStatus.BUSY }, { token }));
  const kind = uniqueName("kind");
  const { task } = messageOf(await doors.anyDoor.call(createTask, { kind }, operator()));
  const { tasks } = messageOf(await doors.anyDoor.call(claimTasks, { kinds: [kind], max: 1 }, { token }));
  expect(tasks).toHaveLength(1);
  return { ...agent, task: task?.id ?? "" };
}

async function stateOf(task: string): Promise<TaskState | undefined> {
  return messageOf(await doors.anyDoor.call(getTask, { task }, operator())).task?.state;
}

describe.each(DOORS)("%s", (name) => {
  test("an agent leaves: offline with that reason, its task free again, once however often it is said", async () => {
    const agent = await agentAtWork();
    const { token } = agent;
    const requestId = uniqueName("request");
    messageOf(await doors.door(name).call(leave, { requestId }, { token }));
    messageOf(await doors.door(name).call(leave, { requestId }, { token }));

    const found = messageOf(await doors.anyDoor.call(getAgent, { agent: agent.name }, operator()));
    expect(found.agent).toMatchObject({ liveness: Liveness.OFFLINE, status: AgentStatus.BUSY });
    expect(await stateOf(agent.task)).toBe(TaskState.PENDING);
    const request = { subject: agent.id, action: ["agent.liveness_changed"], orderBy: "time" };
    const { entries } = messageOf(await doors.anyDoor.call(listAuditEntries, request, operator()));
    expect(entries.map(({ from, to, reason }) => [from, to, reason])).toEqual([
      ["never", "live", "first heartbeat"],
      ["live", "offline", "left"],
    ]);

    const again = messageOf(
      await doors.door(name).call(heartbeat, { status: AgentStatus.ONLINE }, { token }),
    );
    expect(again.acknowledged).toBe(true);
    const back = messageOf(await doors.anyDoor.call(getAgent, { agent: agent.name }, operator()));
    expect(back.agent?.liveness).toBe(Liveness.LIVE);
  });
});

test("an agent that is removed gives its task back too", async () => {
  const agent = await agentAtWork();
  messageOf(await doors.anyDoor.call(removeAgent, { agent: agent.name }, operator()));
  expect(await stateOf(agent.task)).toBe(TaskState.PENDING);
});
