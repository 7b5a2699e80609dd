import { readFile } from "node:fs/promises";
import type { Figure } from "../statistics.ts";
import { type BusyAgent, enrollBusy } from "./fleet.ts";
import { Load } from "./load.ts";
import { ECHO_STREAM, type Figures, OWN_STREAM } from "./report.ts";
import { type BenchDatabase, type Running, startDrover, startScript } from "./servers.ts";

/** Streams that are held at once, over a hundredth as many connections. */
const HELD_STREAMS = 10_000;
const LOOKS = 5;

/** Streams of agents that said hello, against an echo server's. */
export async function measureMemory(
  { url, database }: BenchDatabase,
  ends: Running[],
  log: (line: string) => void,
): Promise<Figures> {
  const agents = await enrollBusy(database, HELD_STREAMS);
  const server = await startDrover(url);
  ends.push(server);
  const echo = await startScript("echo-server.ts", []);
  ends.push(echo);
  const figures: Figures = {
    [OWN_STREAM]: await heldBy(server.pid, server.grpcAddress, agents),
    [ECHO_STREAM]: await heldBy(echo.pid, `127.0.0.1:${echo.port}`, agents),
  };
  for (const [name, { runs }] of Object.entries(figures))
    log(`${name}: ${runs.map((kib) => kib.toFixed(1)).join(", ")} KiB`);
  return figures;
}

/** What a server holds for each of its streams, looked at five times a second apart. */
async function heldBy(pid: number, address: string, agents: BusyAgent[]): Promise<Figure> {
  const before = await residentKib(pid);
  const load = await Load.open({ kind: "session", address, agents }, agents.length / 100);
  const runs: number[] = [];
  for (let run = 0; run < LOOKS; run += 1) {
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    runs.push(((await residentKib(pid)) - before) / agents.length);
  }
  await load.close();
  return { unit: "KiB", runs };
}

async function residentKib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN);
}
