import { setTimeout as pause } from "node:timers/promises";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentClient, memoryCredentialStore } from "../../src/agent-sdk/agent-client.ts";
import type { EnrolledAgent } from "../helpers/fleet-api.ts";
import type { Member } from "./member.ts";

const CALL_MS = 3_000;

/** Where load goes to. */
interface Cluster {
  readonly members: readonly Member[];
  readonly operatorToken: string;
}

/** Something that goes on at a cluster, whatever happens to it, until it is stopped. */
export interface Load {
  stop(): Promise<void>;
}

/** Heartbeats of an agent without a stream, each repeated at the next server until one acknowledges it. */
export function beatOn(cluster: Cluster, agent: EnrolledAgent): Load & { acknowledged(): bigint } {
  let [sequence, acknowledged, stopped, at] = [1n, 0n, false, 0];
  const run = async () => {
    while (!stopped) {
      const member = cluster.members[at % cluster.members.length];
      try {
        await member?.fleet
          .agent(agent.token, "grpc")
          .heartbeat(
            { status: AgentStatus.ONLINE, session: { bootId: "boot", sequence } },
            { timeoutMs: CALL_MS },
          );
        acknowledged = sequence;
        sequence += 1n;
      } catch {
        at += 1;
      }
      await pause(100);
    }
  };
  const running = run();
  return {
    acknowledged: () => acknowledged,
    async stop() {
      stopped = true;
      await running;
    },
  };
}

/** Tasks, one after the other, each asked for by its request id at the next server until one has made it. */
export function createTasksOn(cluster: Cluster, kind: string, name = "task"): Load & { created: string[] } {
  const created: string[] = [];
  let [number, stopped, at] = [0, false, 0];
  const run = async () => {
    while (!stopped) {
      const member = cluster.members[at % cluster.members.length];
      try {
        const { task } =
          (await member?.fleet
            .operator(cluster.operatorToken)
            .tasks.createTask({ kind, requestId: `${name}-${number}` }, { timeoutMs: CALL_MS })) ?? {};
        if (task !== undefined) created.push(task.id);
        number += 1;
      } catch {
        at += 1;
      }
      await pause(150);
    }
  };
  const running = run();
  return {
    created,
    async stop() {
      stopped = true;
      await running;
    },
  };
}

/** An agent by the SDK that works on tasks of the kind, and knows all servers. */
export async function workOn(
  cluster: Cluster,
  agent: EnrolledAgent,
  kind: string,
): Promise<Load & { done(): number }> {
  let done = 0;
  const client = new AgentClient({
    url: cluster.members.map(({ process }) => `http://${process.grpcTarget}`),
    credentials: memoryCredentialStore(agent.token),
    timing: { openMs: 3_000, silenceMs: 3_000, firstDelayMs: 200, longestDelayMs: 1_000 },
  });
  const ended = client.work({
    [kind]: async () => {
      await pause(50);
      done += 1;
      return "done";
    },
  });
  await client.start();
  return {
    done: () => done,
    async stop() {
      await client.leave({ finishWithinMs: 10_000 });
      await ended;
    },
  };
}
