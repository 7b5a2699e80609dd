/** A rival: pg-boss, by loops that fetch and complete as many at a time as a setting says, without a pause. */
import { setTimeout as delay } from "node:timers/promises";
import { PgBoss } from "pg-boss";
import { restMs, type Setting, serve, timed } from "./contender.ts";

interface Opening {
  url: string;
}

const QUEUE = "bench";
const AWAITED = "awaited";
const PAYLOAD = { wordlist: "large", from: 0, to: 100_000 };
const INSERTED_AT_ONCE = 1_000;
let boss: PgBoss;

async function drain({ concurrency, batch }: Setting, tasks: number) {
  for (let from = 0; from < tasks; from += INSERTED_AT_ONCE) {
    const count = Math.min(INSERTED_AT_ONCE, tasks - from);
    await boss.insert(
      QUEUE,
      Array.from({ length: count }, () => ({ data: PAYLOAD })),
    );
  }
  return await timed(tasks, async () => {
    await Promise.all(Array.from({ length: concurrency }, () => workUntilEmpty(batch)));
  });
}

async function workUntilEmpty(batch: number): Promise<void> {
  for (;;) {
    const jobs = await boss.fetch(QUEUE, { batchSize: batch });
    if (jobs.length === 0) return;
    await boss.complete(
      QUEUE,
      jobs.map(({ id }) => id),
    );
  }
}

async function awaitEach(tasks: number): Promise<number[]> {
  let began = Promise.withResolvers<number>();
  const worker = await boss.work(AWAITED, { batchSize: 1, pollingIntervalSeconds: 0.5 }, async () => {
    began.resolve(performance.now());
  });
  const latencies: number[] = [];
  // The first one, which finds the worker at its start, does not count.
  for (let task = 0; task <= tasks; task += 1) {
    began = Promise.withResolvers();
    await delay(restMs());
    const createdMs = performance.now();
    await boss.send(AWAITED, PAYLOAD);
    const beganMs = await began.promise;
    if (task > 0) latencies.push(beganMs - createdMs);
  }
  await boss.offWork(AWAITED, { id: worker });
  return latencies;
}

serve<Opening>(async (order) => {
  switch (order.do) {
    case "open":
      // Without what it does beside the work, and awake to every new job.
      boss = new PgBoss({
        connectionString: order.url,
        max: 20,
        supervise: false,
        schedule: false,
        useListenNotify: true,
      });
      boss.on("error", (error) => console.error(error));
      await boss.start();
      await boss.createQueue(QUEUE);
      await boss.createQueue(AWAITED, { notify: true });
      return undefined;
    case "drain":
      return await drain(order, order.tasks);
    case "await":
      return await awaitEach(order.tasks);
  }
});
