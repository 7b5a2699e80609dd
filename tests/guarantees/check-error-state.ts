import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { DOORS, enrollAgent } from "../helpers/fleet-api.ts";
import type { Stage } from "../helpers/stage.ts";

/**
 * Brings an agent into error and lets it make every call that it may still make, and the claim that it may not; what
 * went the other way, empty when all is well.
 */
export async function refusedInError(stage: Stage): Promise<string[]> {
  const problems: string[] = [];
  for (const door of DOORS) {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    const api = stage.fleet.agent(agent.token, door);
    const fatal = { severity: Severity.FATAL, message: "driver lost" };
    await api.heartbeat({ status: AgentStatus.BUSY, error: fatal });
    const calls = {
      "a heartbeat that reports ERROR": () => api.heartbeat({ status: AgentStatus.ERROR }),
      "another fatal heartbeat": () => api.heartbeat({ status: AgentStatus.BUSY, error: fatal }),
      "an error report": () => api.reportError({ severity: Severity.MAJOR, message: "still no driver" }),
      "a new token": () => api.rotateToken({}),
    };
    for (const [what, call] of Object.entries(calls)) {
      const code = await codeOf(call());
      if (code !== "ok") problems.push(`${what} through ${door}: ${code}`);
    }
    const claim = await codeOf(api.claimTasks({ max: 1 }));
    if (claim !== "FailedPrecondition") problems.push(`a claim through ${door}: ${claim}`);
    const recovery = api.heartbeat({ status: AgentStatus.BENCHMARKED });
    const code = await codeOf(recovery);
    if (code !== "ok") problems.push(`recovery through ${door}: ${code}`);
    else {
      const { transition } = await recovery;
      const recovered = transition?.from === AgentStatus.ERROR && transition.to === AgentStatus.BENCHMARKED;
      if (!recovered) problems.push(`recovery through ${door}: ${JSON.stringify(transition)}`);
    }
  }
  return problems;
}
