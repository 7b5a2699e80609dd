import { Code, ConnectError } from "@connectrpc/connect";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import {
  connectFleet,
  DOORS,
  type DoorName,
  type EnrolledAgent,
  enrollAgents,
  type Fleet,
} from "../helpers/fleet-api.ts";
import type { Stage } from "../helpers/stage.ts";

/** How much is sent, and what it is drawn from. */
export interface RandomLoad {
  agents: number;
  clients: number;
  heartbeats: number;
  /** Not below 1; the same draws for the same seed. */
  seed: number;
}

/** What the senders were told, to be compared with what the database holds. */
export interface Told {
  acknowledged: number;
  duplicates: number;
  /** Changes of status in answers that were no repeats. */
  statusChanges: number;
  fatals: number;
  /** Refusals by code. */
  refused: Record<string, number>;
}

interface RandomAgent extends EnrolledAgent {
  boot: number;
  sequence: number;
}

type Draw = (below: number) => number;

const reported = [AgentStatus.ONLINE, AgentStatus.BUSY, AgentStatus.BENCHMARKED, AgentStatus.ERROR] as const;
const severities = [undefined, undefined, undefined, Severity.WARNING, Severity.FATAL] as const;
const IN_FLIGHT_PER_CLIENT = 4;

/** Random heartbeats of random agents from several clients at once, with fatal errors, restarts, repeats and resets. */
export async function sendRandomHeartbeats(stage: Stage, load: RandomLoad): Promise<Told> {
  const enrolled = await enrollAgents(stage.fleet, stage.operator, load.agents);
  const agents = enrolled.map((agent): RandomAgent => ({ ...agent, boot: 1, sequence: 0 }));
  const told: Told = { acknowledged: 0, duplicates: 0, statusChanges: 0, fatals: 0, refused: {} };
  let left = load.heartbeats;
  const runClient = async (number: number) => {
    const fleet = connectFleet(stage.server);
    const draw = drawsOf(load.seed + number);
    const door = DOORS[number % DOORS.length] ?? "grpc";
    const lane = async () => {
      while (left > 0) {
        left -= 1;
        const agent = pick(agents, draw);
        if (draw(50) === 0) await stage.operator.fleet.resetAgent({ agent: agent.name });
        await beat(fleet, door, agent, draw, told);
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT_PER_CLIENT }, lane));
    fleet.close();
  };
  await Promise.all(Array.from({ length: load.clients }, (_, number) => runClient(number)));
  return told;
}

async function beat(fleet: Fleet, door: DoorName, agent: RandomAgent, draw: Draw, told: Told): Promise<void> {
  const severity = pick(severities, draw);
  const session = drawSession(agent, draw);
  try {
    const answer = await fleet.agent(agent.token, door).heartbeat({
      status: pick(reported, draw),
      ...(severity !== undefined && { error: { severity, message: `trouble ${draw(4)}` } }),
      ...(session !== undefined && { session }),
    });
    told.acknowledged += 1;
    if (severity === Severity.FATAL) told.fatals += 1;
    if (answer.duplicate) told.duplicates += 1;
    else if (answer.transition !== undefined) told.statusChanges += 1;
  } catch (error) {
    const code = Code[ConnectError.from(error).code];
    told.refused[code] = (told.refused[code] ?? 0) + 1;
  }
}

/** Mostly the next sequence of the newest run; at times a late one, a new run, a superseded one, or none at all. */
function drawSession(agent: RandomAgent, draw: Draw): { bootId: string; sequence: bigint } | undefined {
  if (draw(4) === 0) return undefined;
  if (draw(150) === 0) {
    agent.boot += 1;
    agent.sequence = 0;
  }
  const boot = draw(60) === 0 ? Math.max(1, agent.boot - 1) : agent.boot;
  if (draw(4) > 0) agent.sequence += 1;
  const sequence = draw(5) === 0 ? Math.max(0, agent.sequence - draw(5)) : agent.sequence;
  return { bootId: `boot-${boot}`, sequence: BigInt(sequence) };
}

function pick<T>(some: readonly T[], draw: Draw): T {
  // The index is below the length, and nobody passes an empty list.
  return some[draw(some.length)] as T;
}

/** A linear congruential generator, so that a failure can be seen again by its seed. */
function drawsOf(seed: number): Draw {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
