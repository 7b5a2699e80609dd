import { randomBytes } from "node:crypto";
import { Code, createClient, type Transport } from "@connectrpc/connect";
import { sql } from "drizzle-orm";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { openDatabase } from "../../src/storage/database.ts";
import { withDatabase } from "../../src/storage/database-url.ts";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { AgentLine, enroll, openTransport, type Saying, WAYS } from "./agent-line.ts";

let server: TestControlPlane;

beforeAll(async () => {
  server = await startControlPlane();
});
afterAll(async () => {
  await server.stop();
});

const beat = (sequence: number): Saying => ({
  case: "heartbeat",
  value: {
    status: AgentStatus.ONLINE,
    session: { bootId: "boot", sequence: BigInt(sequence) },
  },
});

/** Text that no compression makes smaller than three quarters. */
const filler = (length: number) => randomBytes(length).toString("base64").slice(0, length);

/** An error whose report, which answers it, is as large. */
const largeError: Saying = {
  case: "error",
  value: { severity: Severity.MINOR, message: "large", context: { filler: filler(15_000) } },
};

/** Keeps the agent's row locked until the function that this resolves to is called. */
async function lockAgent(name: string): Promise<() => Promise<void>> {
  const [database] = await server.database<{ name: string }>`SELECT current_database() AS name`;
  const url = withDatabase(inject("postgresUrl"), database?.name ?? "");
  const blocker = openDatabase({ url, applicationName: "blocker", maxConnections: 1 });
  const [locked, unlock] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const over = blocker.db.transaction(async (tx) => {
    await tx.execute(sql`
      SELECT 1 FROM agent_states JOIN agents ON agents.id = agent_id
      WHERE name = ${name} FOR UPDATE OF agent_states`);
    locked.resolve();
    await unlock.promise;
  });
  await locked.promise;
  return async () => {
    unlock.resolve();
    await over;
    await blocker.close();
  };
}

/** Asks until the answer has stayed the same for a while. */
async function settled(ask: () => number | Promise<number>): Promise<number> {
  let last = Number.NaN;
  let since = performance.now();
  return await waitFor(
    async () => {
      const now = await ask();
      if (now !== last) since = performance.now();
      last = now;
      return performance.now() - since > 700 ? { value: now } : undefined;
    },
    { timeoutMs: 60_000, everyMs: 50, what: "rest" },
  ).then(({ value }) => value);
}

describe.each(WAYS)("%s", (way) => {
  let transport: Transport & { close(): void };

  beforeAll(() => {
    transport = openTransport(server, way);
  });
  afterAll(() => transport.close());

  const open = async () => {
    const agent = await enroll(server, transport);
    const line = new AgentLine(transport, agent.token);
    await line.hello("boot");
    return { ...agent, line };
  };

  const occurrences = async (name: string): Promise<number> => {
    const [row] = await server.database<{ sum: string }>`
      SELECT coalesce(sum(occurrences), 0)::text AS sum
      FROM error_reports JOIN agents ON agents.id = agent_id WHERE name = ${name}`;
    return Number(row?.sum);
  };

  // Many more than fit any buffer, on the lane for agents in their thousands; on the others what shows the same.
  const beats = way === WAYS[0] ? 1_500 : 500;
  test(`takes ${beats} heartbeats in their order, each answered in turn`, { timeout: 120_000 }, async () => {
    const { line, name } = await open();
    const first = line.say(beat(0));
    for (let sequence = 1; sequence < beats; sequence++) line.say(beat(sequence));
    for (let sequence = 0; sequence < beats; sequence++) {
      const heard = await line.hear();
      expect(heard?.inReplyTo).toBe(first + BigInt(sequence));
      // One that had been overtaken by a later one would be called a duplicate.
      expect(heard?.message.case === "heartbeat" && heard.message.value.duplicate).toBe(false);
    }
    const [row] = await server.database<{ sequence: bigint }>`
      SELECT sequence FROM agent_states JOIN agents ON agents.id = agent_id WHERE name = ${name}`;
    expect(row?.sequence).toBe(BigInt(beats - 1));
    line.cancel();
  });

  test("serves no further than an agent reads its answers, and goes on when it does", {
    timeout: 120_000,
  }, async () => {
    const count = 600;
    const { line, name } = await open();
    const ids = Array.from({ length: count }, () => line.say(largeError));
    const served = await settled(() => occurrences(name));
    expect(served).toBeGreaterThan(0);
    expect(served).toBeLessThan(count / 2);
    expect(line.unsent).toBeGreaterThan(0);
    for (const id of ids) {
      const heard = await line.hear();
      expect([heard?.inReplyTo, heard?.message.case]).toEqual([id, "error"]);
    }
    expect(await occurrences(name)).toBe(count);
    line.cancel();
  });

  test("reads no further than the database takes", { timeout: 120_000 }, async () => {
    const count = 600;
    const { line, name } = await open();
    const unlock = await lockAgent(name);
    const ids = Array.from({ length: count }, () => line.say(largeError));
    expect(await settled(() => line.unsent)).toBeGreaterThan(0);
    expect(await occurrences(name)).toBe(0);
    await unlock();
    for (const id of ids) expect((await line.hear())?.inReplyTo).toBe(id);
    line.cancel();
  });

  test("an agent that does not read is cut off by a revocation", { timeout: 60_000 }, async () => {
    const { line, name, tokenId } = await open();
    const count = 600;
    for (let sent = 0; sent < count; sent++) line.say(largeError);
    const served = await settled(() => occurrences(name));
    const headers = { authorization: `Bearer ${server.operatorToken}` };
    await createClient(TokenService, transport).revokeToken({ token: tokenId }, { headers });
    await settled(() => occurrences(name));
    let heard = 0;
    const error = await (async () => {
      try {
        for (; (await line.hear()) !== undefined; heard++);
        return undefined;
      } catch (reason) {
        return reason;
      }
    })();
    expect(error).toMatchObject({ code: Code.Canceled });
    expect(heard).toBeLessThan(served);
    expect(await occurrences(name)).toBeLessThanOrEqual(served + 1);
  });

  test("takes back what could not be handed over to an agent that does not read", {
    timeout: 60_000,
  }, async () => {
    const kind = `large-${WAYS.indexOf(way)}`;
    const { line } = await open();
    await line.ask({ case: "ready", value: { slots: 60, kinds: [kind] } });
    const headers = { authorization: `Bearer ${server.operatorToken}` };
    const payload = { kind: { case: "stringValue" as const, value: filler(150_000) } };
    for (let created = 0; created < 60; created++) {
      await createClient(TaskService, transport).createTask({ kind, payload }, { headers });
    }
    const states = async () => {
      const rows = await server.database<{ state: string; losses: number }>`
        SELECT state, losses FROM tasks WHERE kind = ${kind}`;
      return { leased: rows.filter(({ state }) => state === "leased").length, rows };
    };
    const leased = await settled(async () => (await states()).leased);
    expect(leased).toBeLessThan(60);
    line.cancel();
    const after = await waitFor(async () => {
      const now = await states();
      return now.leased < leased && now;
    });
    expect(after.rows.every(({ losses }) => losses === 0)).toBe(true);
    const [row] = await server.database<{ count: bigint }>`
      SELECT count(*) FROM task_attempts a JOIN tasks t ON t.id = a.task_id
      WHERE t.kind = ${kind} AND a.outcome = 'returned'`;
    expect(Number(row?.count)).toBe(leased - after.leased);
  });
});
