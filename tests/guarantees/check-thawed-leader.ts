import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { enrollAgent } from "../helpers/fleet-api.ts";
import { startServer } from "../helpers/server-process.ts";
import type { Stage } from "../helpers/stage.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { SWEEPS_OFTEN } from "./check-mass-loss.ts";

/** The sweep's advisory lock, as PostgreSQL shows it. */
const LOCK = 7_264_313_002n;

/** Process id of the server that holds the sweep's lock; undefined where none does. */
export async function sweepingServer({ sql }: Pick<Stage, "sql">): Promise<number | undefined> {
  const [row] = await sql<{ name: string }[]>`
    SELECT a.application_name AS name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.classid = ${Number(LOCK >> 32n)} AND l.objid = ${Number(LOCK & 0xffffffffn)}
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
  const pid = /^drover (\d+)$/.exec(row?.name ?? "")?.[1];
  return pid === undefined ? undefined : Number(pid);
}

/**
 * Freezes the server that sweeps until another one does, and thaws it; what it wrote then without holding the lock,
 * empty when all is well.
 */
export async function writtenByThawedLeader(stage: Stage): Promise<string[]> {
  const { server, sql } = stage;
  await sql.unsafe(`
    CREATE TABLE watch_writes (id bigserial PRIMARY KEY, writer text NOT NULL, led boolean NOT NULL);
    CREATE FUNCTION note_watch_write() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO watch_writes (writer, led) SELECT current_setting('application_name'), EXISTS (
        SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
          AND classid = ${LOCK >> 32n} AND objid = ${LOCK & 0xffffffffn} AND objsubid = 1);
      RETURN NULL;
    END $$;
    CREATE TRIGGER note_watch_write AFTER UPDATE ON liveness_watch FOR EACH ROW EXECUTE FUNCTION note_watch_write();`);
  const writes = async (pid: number) => {
    const rows = await sql<{ id: string; led: boolean }[]>`
      SELECT id, led FROM watch_writes WHERE writer = ${`drover ${pid}`} ORDER BY id`;
    return rows.map(({ id, led }) => ({ id: Number(id), led }));
  };
  await waitFor(async () => (await writes(server.pid)).length > 0, { what: "a sweep", timeoutMs: 20_000 });
  const heir = await startServer({ databaseUrl: stage.databaseUrl, env: SWEEPS_OFTEN });
  try {
    server.signal("SIGSTOP");
    const [takeover] = await waitFor(
      async () => {
        const all = await writes(heir.pid);
        return all.length > 0 && all;
      },
      { what: "the takeover", timeoutMs: 30_000 },
    );
    server.signal("SIGCONT");
    // It is awake again, and has had the time for rounds of its own.
    const agent = await enrollAgent(stage.fleet, stage.operator);
    await stage.fleet.agent(agent.token).heartbeat({ status: AgentStatus.ONLINE });
    await waitFor(async () => (await writes(heir.pid)).length > 10, {
      what: "sweeps of the heir",
      timeoutMs: 30_000,
    });
    const late = (await writes(server.pid)).filter(({ id, led }) => id > (takeover?.id ?? 0) && !led);
    return late.length === 0 ? [] : [`a leader past its term wrote without its lock, ${late.length} times`];
  } finally {
    server.signal("SIGCONT");
    await heir.stop();
    await sql.unsafe("DROP FUNCTION note_watch_write CASCADE; DROP TABLE watch_writes");
  }
}
