/** A rival: a fastify handler that takes a heartbeat in one drizzle transaction, as most would write it. */
import { and, eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/postgres-js";
import fastify from "fastify";
import postgres from "postgres";
import { agentStates, tasks, tokens } from "../../../src/storage/schema.ts";
import { parseToken } from "../../../src/tokens/token.ts";

interface Body {
  status: "online" | "busy" | "benchmarked";
  currentTask: { taskId: string; leaseEpoch: string; progress: number };
  session: { sequence: string };
}

const [url = "", connections = "10"] = process.argv.slice(2);
// The socket's folder stands in the query, which postgres.js takes as an option alone.
const { hostname, port, username, pathname, searchParams } = new URL(url);
const client = postgres({
  host: searchParams.get("host") ?? hostname,
  port: Number(port || (searchParams.get("port") ?? 5432)),
  username: decodeURIComponent(username || (searchParams.get("user") ?? "")),
  database: pathname.slice(1),
  max: Number(connections),
});
const db = drizzle(client);

const server = fastify();
server.post<{ Body: Body }>("/heartbeat", async (request) => {
  const { status, currentTask, session } = request.body;
  const token = parseToken(request.headers.authorization?.replace("Bearer ", "") ?? "");
  if (token.kind !== "ok") throw new Error("no token");
  const taskId = currentTask.taskId.replace("task_", "");
  return await db.transaction(async (tx) => {
    const [agent] = await tx
      .select({
        projectId: agentStates.projectId,
        agentId: agentStates.agentId,
        sequence: agentStates.sequence,
      })
      .from(agentStates)
      .innerJoin(
        tokens,
        and(eq(tokens.projectId, agentStates.projectId), eq(tokens.agentId, agentStates.agentId)),
      )
      .where(eq(tokens.id, token.id))
      .for("update", { of: agentStates });
    if (agent === undefined) throw new Error("no agent");
    const { projectId, agentId } = agent;
    await tx
      .update(agentStates)
      .set({
        status,
        sequence: BigInt(session.sequence),
        lastSeenAt: sql`clock_timestamp()`,
        currentTaskId: taskId,
      })
      .where(and(eq(agentStates.projectId, projectId), eq(agentStates.agentId, agentId)));
    await tx
      .update(tasks)
      .set({ progress: currentTask.progress, leaseExpiresAt: sql`clock_timestamp() + interval '60 seconds'` })
      .where(and(eq(tasks.projectId, projectId), eq(tasks.id, taskId), eq(tasks.agentId, agentId)));
    return { acknowledged: true, agentStatus: status };
  });
});
await server.listen({ host: "127.0.0.1", port: 0 });
const address = server.server.address();
process.send?.(typeof address === "object" ? address?.port : 0);
process.on("disconnect", () => process.exit(0));
