import type { OpenApiExample } from "../transcoder/openapi.ts";

const TASK_ID = "task_01920000-0000-7000-8000-000000000002";

/** What callers send and get in the calls that they rely on first, by RPC. */
export const examples: Readonly<Record<string, OpenApiExample>> = {
  "drover.v1.TokenService/CreateToken": {
    request: { role: "enrollment", ttl: "600s", maxUses: 1, labels: {} },
  },
  "drover.v1.AgentService/Enroll": {
    request: { name: "gpu-1", nonce: "c2f1", labels: { zone: "a" }, capabilities: ["hash"] },
  },
  "drover.v1.AgentService/Heartbeat": {
    request: {
      status: "busy",
      currentTask: { taskId: TASK_ID, leaseEpoch: "3", progress: 0.4 },
      error: { severity: "warning", message: "the fan is slow", context: { rpm: 800 } },
    },
    answer: {
      acknowledged: true,
      agentStatus: "busy",
      nextHeartbeat: "15s",
      transition: { from: "online", to: "busy", reason: "reported" },
    },
  },
  "drover.v1.AgentService/ReportError": {
    request: { severity: "critical", message: "out of memory", context: { device: "cuda:0" } },
    answer: {
      errorReport: {
        id: "error_01920000-0000-7000-8000-000000000003",
        agent: "gpu-1",
        agentId: "agent_01920000-0000-7000-8000-000000000001",
        severity: "critical",
        message: "out of memory",
        context: { device: "cuda:0" },
        fingerprint: "9b3a71c2",
        occurrences: 1,
        createdAt: "2026-01-02T03:04:05Z",
      },
    },
  },
  "drover.v1.FleetService/ListAgents": {
    answer: { agents: [{ name: "gpu-1", status: "online", liveness: "live", labels: { zone: "a" } }] },
  },
};
