import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { DOORS, useDoors } from "../helpers/door-suite.ts";
import { newAgent } from "../helpers/fleet.ts";

const { heartbeat } = AgentService.method;
const doors = useDoors({ settings: { DROVER_MAX_CALLS_PER_TOKEN: "20" } });

describe.each(DOORS)("%s", (name) => {
  test("a token that calls too often is told when to come again, and no other token pays for it", async () => {
    const [eager, calm] = [await newAgent(doors), await newAgent(doors)];
    const call = (token: string) =>
      doors.door(name).call(heartbeat, { status: AgentStatus.ONLINE }, { token });
    let refusal: Awaited<ReturnType<typeof call>> | undefined;
    // Faster than twenty a second, however slow the machine is.
    for (let round = 0; refusal === undefined && round < 20; round += 1) {
      const outcomes = await Promise.all(Array.from({ length: 50 }, () => call(eager.token)));
      refusal = outcomes.find(({ ok }) => !ok);
    }
    expect(refusal).toMatchObject({
      code: Code.ResourceExhausted,
      reason: "TOO_MANY_CALLS",
      message: "too many calls for this token",
    });
    expect(refusal !== undefined && !refusal.ok && (refusal.retryAfterMs ?? 0)).toBeGreaterThan(0);
    expect((await call(calm.token)).ok).toBe(true);
  });
});
