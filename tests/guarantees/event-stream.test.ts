import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type TestWatch, watchEvents } from "../events/watch-client.ts";
import { startServer } from "../helpers/server-process.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { toldOfRollback, wrongAfterLateCommits, wrongUnderTraffic } from "./check-event-stream.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(async () => {
  await stage.close();
});

describe("the stream of events", () => {
  test("skips nothing and turns nothing around, in whatever order transactions commit", async () => {
    expect(await wrongAfterLateCommits(stage)).toEqual([]);
  });

  test("tells nobody of what was rolled back", async () => {
    expect(await toldOfRollback(stage)).toEqual([]);
  });

  test("is the same for watches that stay and watches that come anew, under 32 writers on 50 subjects", async () => {
    const wrong = await wrongUnderTraffic(stage, { writers: 32, rounds: 40, subjects: 50 });
    expect(wrong).toEqual([]);
  }, 120_000);

  test("reaches those who read, while others read nothing, and those are sent away", async () => {
    const { httpUrl, grpcTarget } = stage.server;
    const stalled = [
      ...Array.from({ length: 3 }, () => stallByHttp1(httpUrl, stage.operatorToken)),
      stallByGrpc(grpcTarget, stage.operatorToken),
    ];
    const good = Array.from({ length: 3 }, () => watchEvents(stage.operator));
    await Promise.all([...good.map((watch) => watch.open()), ...stalled.map(({ opened }) => opened)]);
    // More than the buffers of the two ends hold.
    const total = 4_000;
    await stage.sql`
      INSERT INTO events (project_id, type, subject, data)
      SELECT p.id, 'task.created', 'bulk-' || n, jsonb_build_object('filler', repeat('x', 4000))
      FROM projects p, generate_series(1, ${total}::int) n WHERE p.name = 'default'`;
    const countOf = (watch: TestWatch) =>
      watch.facts().filter(({ subject }) => subject.startsWith("bulk-")).length;
    await waitFor(() => good.every((watch) => countOf(watch) === total), {
      what: "every event",
      timeoutMs: 60_000,
    });
    expect(new Set(good[0]?.facts().map(({ cursor }) => cursor)).size).toBe(good[0]?.facts().length);
    await Promise.all(stalled.map(({ ended }) => ended));
    for (const watch of good) {
      expect(watch.outcome()).toBeUndefined();
      watch.cancel();
    }
  }, 120_000);

  test("goes on, without a gap, when the sequencer's server is killed and another takes over", async () => {
    const other = await startServer({ databaseUrl: stage.databaseUrl });
    try {
      const wrong = await wrongUnderTraffic(stage, { writers: 8, rounds: 60, subjects: 20 }, async () => {
        // In the middle of its work: events wait for it.
        const isBusy = async () =>
          (await stage.sql`SELECT 1 FROM events WHERE seq IS NULL LIMIT 1`).length > 0;
        await waitFor(isBusy, { what: "work for the sequencer", everyMs: 2 });
        await stage.restart();
      });
      expect(wrong).toEqual([]);
    } finally {
      await other.stop();
    }
  }, 120_000);

  test("goes on when the sequencer's server is frozen, within seconds, and the frozen one writes nothing more", async () => {
    const other = await startServer({ databaseUrl: stage.databaseUrl });
    const frozen = stage.server;
    try {
      frozen.signal("SIGSTOP");
      await stage.sql`
        INSERT INTO events (project_id, type, subject) SELECT id, 'task.created', 'task_x' FROM projects`;
      const isNumbered = async () => (await stage.sql`SELECT 1 FROM events WHERE seq IS NULL`).length === 0;
      await waitFor(isNumbered, { what: "the takeover", timeoutMs: 20_000 });
    } finally {
      frozen.signal("SIGCONT");
      await stage.restart();
      await other.stop();
    }
    expect(await wrongUnderTraffic(stage, { writers: 4, rounds: 20, subjects: 10 })).toEqual([]);
  }, 120_000);
});

/** A watch whose caller reads nothing after the first bytes, and when the server has cut it off. */
interface StalledWatch {
  opened: Promise<unknown>;
  ended: Promise<unknown>;
}

function stallByHttp1(url: string, token: string): StalledWatch {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.on("error", () => {});
  socket.write(
    `GET /api/v1/events:watch HTTP/1.1\r\nhost: ${hostname}\r\nauthorization: Bearer ${token}\r\n\r\n`,
  );
  const opened = once(socket, "data").then(() => socket.pause());
  // A socket that is not read learns of its end only by what it says itself.
  const speaking = setInterval(() => socket.write("\r\n"), 200);
  const ended = closed(socket).finally(() => clearInterval(speaking));
  return { opened, ended };
}

function stallByGrpc(target: string, token: string): StalledWatch {
  const session = connectHttp2(`http://${target}`);
  session.on("error", () => {});
  const stream = session.request({
    ":method": "POST",
    ":path": "/drover.v1.EventService/WatchEvents",
    "content-type": "application/grpc",
    te: "trailers",
    authorization: `Bearer ${token}`,
  });
  stream.on("error", () => {});
  // A message without fields.
  stream.end(Buffer.alloc(5));
  const opened = once(stream, "data").then(() => stream.pause());
  const ended = closed(stream).finally(() => session.destroy());
  return { opened, ended };
}

/** Unlike `once`, whatever it was that broke it. */
function closed(stream: Duplex): Promise<void> {
  return new Promise((resolve) => stream.once("close", () => resolve()));
}
