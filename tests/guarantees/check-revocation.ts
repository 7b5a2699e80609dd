import { setTimeout as pause } from "node:timers/promises";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { DOORS, type EnrolledAgent, enrollAgent, type Fleet } from "../helpers/fleet-api.ts";
import type { Stage } from "../helpers/stage.ts";
import { holdLock } from "../helpers/stop-point.ts";

const WITHIN_MS = 1000;

/** The id of an agent's only token. */
export async function tokenIdOf({ sql }: Stage, { uuid }: EnrolledAgent): Promise<string> {
  const [row] = await sql<{ id: string }[]>`SELECT id FROM tokens WHERE agent_id = ${uuid}`;
  return `token_${row?.id}`;
}

/**
 * Revokes the token of an agent that was just heard through every door of the given servers; what was accepted of it
 * a second after the revocation was acknowledged, empty when all is well.
 */
export async function acceptedAfterRevocation(stage: Stage, fleets: Fleet[]): Promise<string[]> {
  const agent = await enrollAgent(stage.fleet, stage.operator);
  const ways = fleets.flatMap((fleet, server) =>
    DOORS.map((door) => ({ name: `${door} of server ${server}`, api: fleet.agent(agent.token, door) })),
  );
  for (const { name, api } of ways) {
    const code = await codeOf(api.heartbeat({ status: AgentStatus.ONLINE }));
    if (code !== "ok") return [`${name} before the revocation: ${code}`];
  }
  await stage.operator.tokens.revokeToken({ token: await tokenIdOf(stage, agent) });
  const acknowledgedMs = performance.now();
  const problems = await Promise.all(
    ways.map(async ({ name, api }) => {
      for (;;) {
        const code = await codeOf(api.heartbeat({ status: AgentStatus.BUSY }));
        if (code === "Unauthenticated") return [];
        if (performance.now() - acknowledgedMs > WITHIN_MS) return [`${name}: ${code}`];
        await pause(50);
      }
    }),
  );
  return problems.flat();
}

/** How a call ends that stood behind a lock until more than a second after its token was revoked. */
export async function outcomeBehindLock(
  stage: Stage,
  statement: string,
  tokenId: string,
  call: () => Promise<unknown>,
): Promise<string> {
  const lock = await holdLock(stage.databaseUrl, statement);
  const outcome = codeOf(call());
  await lock.reached();
  await stage.operator.tokens.revokeToken({ token: tokenId });
  // The guarantee itself is a time; nothing tells that it has passed but a clock.
  await pause(WITHIN_MS + 100);
  await lock.release();
  return await outcome;
}
