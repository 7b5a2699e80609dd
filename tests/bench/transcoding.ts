import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { parsePathTemplate } from "../../src/transcoder/path-template.ts";
import { RouteTrie } from "../../src/transcoder/route-trie.ts";
import type { Benchmark } from "./bench.ts";
import { sendCalls } from "./raw-http-load.ts";

const ROUNDS = 7;
const CALLS = 8_000;
const CONNECTIONS = 8;
const MATCHES = 200_000;
const ROUTE_COUNTS = [10, 100, 1000];
const RIVALS = ["bare", "rest", "guarded", "connect"] as const;
type Rival = (typeof RIVALS)[number];

const BODY = JSON.stringify({
  status: "busy",
  currentTask: { taskId: "task_01920000-0000-7000-8000-000000000000", leaseEpoch: "3", progress: 0.4 },
  session: { bootId: "5f0c1c1e", sequence: "4711" },
});

const PATHS: Record<Rival, string> = {
  bare: "/api/v1/agent/heartbeat",
  rest: "/api/v1/agent/heartbeat",
  guarded: "/api/v1/agent/heartbeat",
  connect: "/drover.v1.AgentService/Heartbeat",
};

// What Connect wants of its callers; the others get it too, so that all read the same headers.
const HEADERS = `host: 127.0.0.1\r\nauthorization: Bearer drv_agt_0123456789abcdef\r\ncontent-type: application/json\r\nconnect-protocol-version: 1\r\ncontent-length: ${BODY.length}`;

/** What a REST call costs the server's processor, against no transcoding at all and against connect-node. */
export const transcodingBenchmark: Benchmark = {
  name: "transcoding",
  what: "processor time of one call, a heartbeat in JSON over HTTP/1.1, by the server's own count; the matcher alone",
  async run(log) {
    const servers = await Promise.all(RIVALS.map(async (rival) => ({ rival, ...(await startRival(rival)) })));
    const costs: Record<Rival, number[]> = { bare: [], rest: [], guarded: [], connect: [] };
    const ratios = { bare: [] as number[], connect: [] as number[] };
    try {
      // Long enough for the compiler to have seen all there is.
      for (const { rival, port } of servers) await sendCalls(port, requestTo(rival), CONNECTIONS, 3 * CALLS);
      for (let round = 1; round <= ROUNDS; round += 1) {
        // In turn and not at once: what else the machine does then hits all alike.
        for (const { rival, port, child } of servers)
          costs[rival].push(await measure(child, port, requestTo(rival)));
        const [bare = NaN, rest = NaN, , connect = NaN] = RIVALS.map((rival) => costs[rival].at(-1));
        ratios.bare.push(rest / bare);
        ratios.connect.push(rest / connect);
        log(
          `round ${round} of ${ROUNDS}: bare ${bare.toFixed(1)}, rest ${rest.toFixed(1)}, connect ${connect.toFixed(1)} µs`,
        );
      }
    } finally {
      for (const { child } of servers) child.disconnect();
    }
    return {
      figures: {
        "bare node:http": { unit: "µs CPU a call", runs: costs.bare },
        "REST by the transcoder": { unit: "µs CPU a call", runs: costs.rest },
        "REST behind an interceptor": { unit: "µs CPU a call", runs: costs.guarded },
        "Connect JSON by connect-node": { unit: "µs CPU a call", runs: costs.connect },
        "REST to bare": { unit: "×", runs: ratios.bare },
        "REST to Connect": { unit: "×", runs: ratios.connect },
        ...Object.fromEntries(
          ROUTE_COUNTS.map((count) => [
            `match among ${count} routes`,
            { unit: "ns a match", runs: measureMatcher(count) },
          ]),
        ),
      },
      goals: [
        {
          words: "at most 1.5 × the CPU of the bare handler",
          met: (medians) => (medians["REST to bare"] ?? Infinity) <= 1.5,
        },
        {
          words: "less than half of the CPU of Connect",
          met: (medians) => (medians["REST to Connect"] ?? Infinity) < 0.5,
        },
      ],
      notes: [
        "No database, and no interceptors but where it says so: what is compared is the way from bytes to a handler and back.",
        `Each round sends ${CALLS} calls to each server on ${CONNECTIONS} connections; CPU is user and system time of the server's process.`,
      ],
    };
  },
};

function requestTo(rival: Rival): string {
  return `POST ${PATHS[rival]} HTTP/1.1\r\n${HEADERS}\r\n\r\n${BODY}`;
}

async function startRival(rival: Rival): Promise<{ child: ChildProcess; port: number }> {
  const child = fork(fileURLToPath(new URL("./transcoding-server.ts", import.meta.url)), [rival]);
  const [port] = await once(child, "message");
  return { child, port: Number(port) };
}

/** Microseconds of processor time for one call. */
async function measure(child: ChildProcess, port: number, request: string): Promise<number> {
  const before = await processorTime(child);
  await sendCalls(port, request, CONNECTIONS, CALLS);
  return ((await processorTime(child)) - before) / CALLS;
}

async function processorTime(child: ChildProcess): Promise<number> {
  const answer = once(child, "message");
  child.send("processor time");
  const [microseconds] = await answer;
  return Number(microseconds);
}

/** Nanoseconds of processor time for one match, hits and misses mixed. */
function measureMatcher(routeCount: number): number[] {
  const trie = new RouteTrie<number>();
  const targets: string[] = [];
  for (let index = 0; index < routeCount; index += 1) {
    const shapes = [
      `/api/v1/kind${index}`,
      `/api/v1/kind${index}/{name}`,
      `/api/v1/kind${index}/{name}:act`,
      `/files${index}/{path=**}`,
    ];
    trie.add("GET", parsePathTemplate(shapes[index % shapes.length] ?? ""), index);
    targets.push(
      `/api/v1/kind${index}/gpu-1?page_size=5`,
      `/api/v1/kind${index}/gpu-1:act`,
      `/files${index}/a/b%20c/d`,
    );
  }
  const runOnce = () => {
    const before = process.cpuUsage();
    for (let count = 0; count < MATCHES; count += 1) trie.find("GET", targets[count % targets.length] ?? "");
    const { user, system } = process.cpuUsage(before);
    return ((user + system) * 1000) / MATCHES;
  };
  runOnce();
  return Array.from({ length: ROUNDS }, runOnce);
}
