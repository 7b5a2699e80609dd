import type { Goal } from "../bench.ts";
import { type Figure, summarise } from "../statistics.ts";

export type Figures = Record<string, Figure>;

export const DROVER = "Drover, streams";
export const ETCD = "etcd LeaseKeepAlive";
export const ONE_BY_ONE = "one transaction per heartbeat, same doors";
export const UNARY = "Drover, unary gRPC";
export const REST = "Drover, REST";
export const FASTIFY = "fastify, one drizzle transaction";
export const HALF_LOAD = "acknowledgement at half load, p99";
export const OWN_STREAM = "memory of a connected agent";
export const ECHO_STREAM = "memory of a stream of an echo server on grpc-js";
export const TABLES = [1_000, 100_000, 1_000_000] as const;
export const tableFigure = (agents: number) =>
  `heartbeats with ${agents.toLocaleString("en")} agents in the table`;

const ratio = (medians: Readonly<Record<string, number>>, one: string, other: string) =>
  (medians[one] ?? Number.NaN) / (medians[other] ?? Number.NaN);

export function goalsOf(figures: Figures): Goal[] {
  const slowest = (medians: Readonly<Record<string, number>>) =>
    Math.min(...TABLES.map((size) => medians[tableFigure(size)] ?? Number.NaN));
  const fastest = (medians: Readonly<Record<string, number>>) =>
    Math.max(...TABLES.map((size) => medians[tableFigure(size)] ?? Number.NaN));
  const all: (Goal & { needs?: string })[] = [
    { words: "at least 20,000/s over streams", met: (medians) => (medians[DROVER] ?? 0) >= 20_000 },
    { words: "at least 1.0 × etcd", met: (medians) => ratio(medians, DROVER, ETCD) >= 1, needs: ETCD },
    {
      words: "at least 5 × one transaction per heartbeat",
      met: (medians) => ratio(medians, DROVER, ONE_BY_ONE) >= 5,
    },
    { words: "unary gRPC at least 4 × fastify", met: (medians) => ratio(medians, UNARY, FASTIFY) >= 4 },
    { words: "REST at least 4 × fastify", met: (medians) => ratio(medians, REST, FASTIFY) >= 4 },
    { words: "p99 at half load at most 25 ms", met: (medians) => (medians[HALF_LOAD] ?? Infinity) <= 25 },
    { words: "memory at most 1.3 × echo", met: (medians) => ratio(medians, OWN_STREAM, ECHO_STREAM) <= 1.3 },
    {
      words: "flat within 20 % up to 1,000,000 agents",
      met: (medians) => slowest(medians) >= 0.8 * fastest(medians),
    },
  ];
  return all.filter(({ needs }) => needs === undefined || figures[needs] !== undefined);
}

/** The rows of the README's table, from the medians. */
export function tableOf(figures: Figures): string {
  const medianOf = (name: string) => summarise(figures[name]?.runs ?? [Number.NaN]).median;
  const rate = (name: string) => `${Math.round(medianOf(name)).toLocaleString("en")}/s`;
  const against = (one: string, other: string) =>
    figures[other] === undefined
      ? "not installed"
      : `${rate(other)} (${(medianOf(one) / medianOf(other)).toFixed(1)} ×)`;
  const rows: [string, string, string][] = [
    [
      "durable heartbeats over streams",
      rate(DROVER),
      `etcd LeaseKeepAlive, which writes nothing: ${against(DROVER, ETCD)}`,
    ],
    ["", "", `one transaction per heartbeat, same doors: ${against(DROVER, ONE_BY_ONE)}`],
    [
      "heartbeats by unary gRPC",
      rate(UNARY),
      `fastify and one drizzle transaction: ${against(UNARY, FASTIFY)}`,
    ],
    ["heartbeats by REST", rate(REST), `fastify and one drizzle transaction: ${against(REST, FASTIFY)}`],
    ["acknowledgement at half load", `p99 ${medianOf(HALF_LOAD).toFixed(1)} ms`, ""],
    [
      "memory of one of 10,000 connected agents",
      `${medianOf(OWN_STREAM).toFixed(0)} KiB`,
      `echo server on grpc-js: ${medianOf(ECHO_STREAM).toFixed(0)} KiB (${(medianOf(OWN_STREAM) / medianOf(ECHO_STREAM)).toFixed(2)} ×)`,
    ],
    ...TABLES.map((size): [string, string, string] => [
      `heartbeats with ${size.toLocaleString("en")} agents in the table`,
      rate(tableFigure(size)),
      "",
    ]),
  ];
  const lines = rows.map((cells) => `| ${cells.join(" | ")} |`);
  return ["", "| what | Drover | against |", "|---|---|---|", ...lines, ""].join("\n");
}

export const NOTES = [
  "Every heartbeat carries a session, a sequence and a task whose progress changes; token, validation, idempotency and the check of the transition are on, and so are fsync and synchronous_commit.",
  "The streams' client is the same for etcd; it keeps one message under way on each stream. Each contender runs at the number of streams or callers at which it was best in a short trial.",
  "The one that takes a transaction per heartbeat is this server with batches of one and ten connections: one statement between BEGIN and COMMIT.",
  "fastify's handler looks its agent up by the token's id in its transaction, without checking the secret.",
  "Memory is the server's resident set, before and with the streams open and one message answered on each.",
];
