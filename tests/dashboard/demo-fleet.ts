import { fromJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { TokenRole } from "../../gen/drover/v1/token_service_pb.js";
import { type EnrolledAgent, enrolledAgent, type Fleet, type OperatorApi } from "../helpers/fleet-api.ts";

/** A fleet as one might meet it: some work, some idle, some broken, one never heard. */
export interface DemoFleet {
  readonly agents: readonly EnrolledAgent[];
  /** What these two listen to is the test's affair; the second one stops to beat after two rounds. */
  readonly deaf: EnrolledAgent;
  readonly mute: EnrolledAgent;
  /** Lets everyone beat once who is not broken; call it again and again. */
  beat(): Promise<void>;
}

const value = (json: Parameters<typeof fromJson>[1]) => fromJson(ValueSchema, json);

export async function makeDemoFleet(fleet: Fleet, operator: OperatorApi): Promise<DemoFleet> {
  const minted = await operator.tokens.createToken({
    role: TokenRole.ENROLLMENT,
    maxUses: 100,
    labels: { fleet: "demo" },
  });
  const enroller = fleet.agent(minted.secret);
  const enroll = async (name: string, zone: string, capabilities: string[]) =>
    enrolledAgent(
      await enroller.enroll({
        name,
        labels: { zone },
        capabilities,
        deviceInfo: { os: "Linux 6.12", cores: 32, gpu: "RTX 5090 × 4" },
      }),
    );
  const gpus = await Promise.all(
    Array.from({ length: 9 }, (_, i) => enroll(`gpu-${i + 1}`, i % 2 ? "ams-1" : "fra-2", ["cuda", "hash"])),
  );
  const runners = await Promise.all(
    Array.from({ length: 5 }, (_, i) => enroll(`ci-runner-${i + 1}`, "iad-1", ["docker", "build"])),
  );
  const never = await enroll("edge-collector-berlin-friedrichshain-07", "ber-1", ["collect"]);
  const quiet = gpus[8] ?? never;
  const broken = gpus[3] ?? never;
  await makeTasks(operator);
  const [first, second] = gpus;
  if (first === undefined || second === undefined) throw new Error("there are agents");
  const claimed = await fleet.agent(first.token).claimTasks({ kinds: ["hash"], max: 2 });
  const others = await fleet.agent(second.token).claimTasks({ kinds: ["hash"], max: 3 });
  const [done, failed] = others.tasks;
  if (done !== undefined) {
    await fleet.agent(second.token).completeTask({
      task: done.id,
      leaseEpoch: done.lease?.epoch ?? 0n,
      result: value({ digest: "9f86d081884c7d65", candidates: 1_400_000, cracked: true }),
    });
  }
  if (failed !== undefined) {
    await fleet.agent(second.token).failTask({
      task: failed.id,
      leaseEpoch: failed.lease?.epoch ?? 0n,
      error: {
        message: "rule file best64.rule is missing",
        context: { rule: "best64.rule", dbPassword: "hunter2" },
      },
      retryable: false,
    });
  }
  // Its process was started anew once before.
  for (const sequence of [1n, 2n])
    await fleet
      .agent(first.token)
      .heartbeat({ status: AgentStatus.ONLINE, session: { bootId: "boot-before", sequence } });
  await takeDown(fleet, operator, runners.slice(0, 3));
  await reportErrors(fleet, [...gpus, ...runners], broken);
  let round = 0;
  const [, , , deaf = never, mute = never] = runners;
  return {
    agents: [...gpus, ...runners, never],
    deaf,
    mute,
    async beat() {
      round += 1;
      const healthy = [...gpus, ...runners].filter(
        (agent) => agent !== broken && !((agent === quiet || agent === mute) && round > 2),
      );
      await Promise.all(
        healthy.map((agent, index) => {
          const task = agent === first ? claimed.tasks[0] : undefined;
          const status =
            index < 4 ? AgentStatus.BUSY : index === 5 ? AgentStatus.BENCHMARKED : AgentStatus.ONLINE;
          return fleet.agent(agent.token).heartbeat({
            status,
            gauges:
              index < 9
                ? { "hashes/s": 1.4e9 + 2e8 * Math.sin(round / 3 + index), temperature: 60 + index }
                : {},
            session: { bootId: `boot-of-${agent.name}`, sequence: BigInt(round) },
            ...(task !== undefined && {
              currentTask: {
                taskId: task.id,
                leaseEpoch: task.lease?.epoch ?? 0n,
                progress: Math.min(0.95, 0.2 + round / 100),
                detail: "rockyou.txt, rule 3 of 12",
              },
            }),
          });
        }),
      );
    },
  };
}

async function makeTasks({ tasks }: OperatorApi): Promise<void> {
  const kinds = ["hash", "build", "collect"];
  for (let i = 0; i < 24; i++) {
    const { task } = await tasks.createTask({
      kind: kinds[i % 3] ?? "hash",
      priority: (i * 7) % 10,
      payload: value({ file: `rockyou-${i}.txt`, mode: 1000 + i, rules: ["best64", "d3ad0ne"] }),
      labels: { batch: `nightly-${i % 4}` },
    });
    if (i === 20 && task !== undefined) await tasks.cancelTask({ task: task.id, reason: "asked for twice" });
  }
}

async function reportErrors(
  fleet: Fleet,
  agents: readonly EnrolledAgent[],
  broken: EnrolledAgent,
): Promise<void> {
  await Promise.all(
    agents.slice(0, 6).map((agent, index) =>
      fleet.agent(agent.token).reportError({
        severity: index % 2 ? Severity.WARNING : Severity.MAJOR,
        message:
          index % 2
            ? `disk at ${90 + index} % of 512 GB`
            : `upload of chunk ${index} failed: connection reset by peer`,
        context: { disk: "/dev/nvme0n1", attempt: index, agentToken: "super-secret" },
      }),
    ),
  );
  const caller = fleet.agent(broken.token);
  await caller.heartbeat({ status: AgentStatus.ONLINE });
  await caller.heartbeat({
    status: AgentStatus.BUSY,
    error: {
      severity: Severity.FATAL,
      message: "CUDA driver lost: device 2 has fallen off the bus",
      context: { device: 2, xid: 79, driver: "575.51", dbPassword: "hunter2" },
    },
  });
}

/** A task that each of these agents went down with; the third one is too many. */
async function takeDown(
  fleet: Fleet,
  { tasks }: OperatorApi,
  agents: readonly EnrolledAgent[],
): Promise<void> {
  const payload = value({ file: "/data/import/2026-11-28.parquet", mode: "full" });
  await tasks.createTask({ kind: "import", priority: 9, payload, labels: { batch: "nightly-2" } });
  for (const agent of agents) {
    const caller = fleet.agent(agent.token);
    await caller.heartbeat({ status: AgentStatus.ONLINE });
    const claimed = await caller.claimTasks({ kinds: ["import"], max: 1, wait: { seconds: 20n } });
    const [task] = claimed.tasks;
    if (task === undefined) throw new Error(`${agent.name} was given nothing`);
    await caller.heartbeat({
      status: AgentStatus.BUSY,
      currentTask: { taskId: task.id, leaseEpoch: task.lease?.epoch ?? 0n, progress: 0.3, detail: "reading" },
    });
    await caller.heartbeat({
      status: AgentStatus.BUSY,
      currentTask: { taskId: task.id, leaseEpoch: task.lease?.epoch ?? 0n },
      error: {
        severity: Severity.FATAL,
        message: "out of memory: killed by the kernel",
        context: { rss: "63 GB" },
      },
    });
  }
}
