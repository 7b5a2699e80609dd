import { fileURLToPath } from "node:url";
import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { TokenRole } from "../../gen/drover/v1/token_service_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { enrollAgent } from "../helpers/fleet-api.ts";
import type { Stage } from "../helpers/stage.ts";

const NEAR_MS = 60_000;

/** Settings for a server whose own clock is off by that much. */
export function clockOff(offMs: number): Record<string, string> {
  const preload = fileURLToPath(new URL("clock-off.ts", import.meta.url));
  return { NODE_OPTIONS: `--import=${preload}`, CLOCK_OFF_MS: String(offMs) };
}

/** What a server tells or does by its own clock where the database's should decide; empty when all is well. */
export async function judgedByOwnClock(stage: Stage): Promise<string[]> {
  const problems: string[] = [];
  const { tokens, fleet, events } = stage.operator;
  const agent = await enrollAgent(stage.fleet, stage.operator);
  const api = stage.fleet.agent(agent.token);
  const first = await api.heartbeat({ status: AgentStatus.ONLINE });
  if (first.renewedToken) problems.push("a new token is to be renewed");
  const { errorReport } = await api.reportError({ severity: Severity.MINOR, message: "what time is it" });
  const short = await tokens.createToken({ role: TokenRole.VIEWER, ttl: { seconds: 600n } });
  if ((await codeOf(stage.fleet.operator(short.secret).fleet.listAgents({}))) !== "ok") {
    problems.push("a token of ten minutes is not accepted");
  }
  await stage.sql`
    UPDATE tokens SET expires_at = clock_timestamp() - interval '1 second' WHERE role = 'viewer'`;
  if ((await codeOf(stage.fleet.operator(short.secret).fleet.listAgents({}))) !== "Unauthenticated") {
    problems.push("a token that expired a second ago is accepted");
  }
  const { agent: shown } = await fleet.getAgent({ agent: agent.name });
  const { entries } = await events.listAuditEntries({ subject: agent.name });
  if (shown?.recentErrors?.count !== 1) problems.push("an error of just now is not recent");
  const [row] = await stage.sql<{ now: Date }[]>`SELECT clock_timestamp() AS now`;
  const now = row?.now.getTime() ?? 0;
  const near = (what: string, time: Timestamp | undefined, offsetMs = 0) => {
    const offMs = time === undefined ? Number.NaN : timestampMs(time) - now - offsetMs;
    if (!(Math.abs(offMs) < NEAR_MS)) problems.push(`${what} is off by ${offMs} ms`);
  };
  near("enrollment", shown?.createdAt);
  near("last heartbeat", shown?.lastHeartbeatAt);
  near("change of status", shown?.statusChangedAt);
  near("error", errorReport?.createdAt);
  near("creation of a token", short.token?.createdAt);
  near("expiry of a token", short.token?.expiresAt, 600_000);
  for (const entry of entries) near(`audit entry ${entry.action}`, entry.time);
  return problems;
}
