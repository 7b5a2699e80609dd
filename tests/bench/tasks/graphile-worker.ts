/** A rival: graphile-worker, with its local queue and with completions in batches where a setting says so. */
import { setTimeout as delay } from "node:timers/promises";
import { Logger, makeWorkerUtils, type Runner, run, type WorkerUtils } from "graphile-worker";
import { restMs, type Setting, serve, timed } from "./contender.ts";

interface Opening {
  url: string;
}

const TASK = "bench";
const PAYLOAD = { wordlist: "large", from: 0, to: 100_000 };
let url = "";
let utils: WorkerUtils;
/** What the one kind of task does. */
let work = () => {};

async function startWorkers({ concurrency, batch }: Setting): Promise<Runner> {
  return await run({
    connectionString: url,
    taskList: { [TASK]: () => work() },
    noHandleSignals: true,
    logger: new Logger(() => () => {}),
    concurrency,
    maxPoolSize: Math.min(20, concurrency + 2),
    preset: {
      worker:
        batch === 1 ? {} : { localQueue: { size: batch }, completeJobBatchDelay: 0, failJobBatchDelay: 0 },
    },
  });
}

async function drain(setting: Setting, tasks: number) {
  let done = 0;
  const begun = Promise.withResolvers<void>();
  const worked = Promise.withResolvers<void>();
  work = () => {
    if (done === 0) begun.resolve();
    done += 1;
    if (done === tasks) worked.resolve();
  };
  // One statement, before any worker looks, and with statistics that know of them: without, its search for jobs took a plan
  // now and then that ran for minutes.
  await utils.withPgClient((client) =>
    client.query("SELECT count(graphile_worker.add_job($1, $2::json)) FROM generate_series(1, $3::int)", [
      TASK,
      JSON.stringify(PAYLOAD),
      tasks,
    ]),
  );
  await utils.withPgClient((client) => client.query("ANALYZE graphile_worker._private_jobs"));
  const drained = timed(tasks, async (begin) => {
    await begun.promise;
    begin();
    await worked.promise;
    // Done when the database says so: a completed job is deleted.
    while (await hasJobs()) await delay(1);
  });
  const runner = await startWorkers(setting);
  const result = await drained;
  await runner.stop();
  return result;
}

async function hasJobs(): Promise<boolean> {
  const { rows } = await utils.withPgClient((client) =>
    client.query<{ any: boolean }>('SELECT EXISTS (SELECT FROM graphile_worker._private_jobs) AS "any"'),
  );
  return rows[0]?.any ?? true;
}

async function awaitEach(tasks: number): Promise<number[]> {
  let began = Promise.withResolvers<number>();
  work = () => began.resolve(performance.now());
  const runner = await startWorkers({ concurrency: 1, batch: 1 });
  const latencies: number[] = [];
  // The first one, which finds the worker at its start, does not count.
  for (let task = 0; task <= tasks; task += 1) {
    began = Promise.withResolvers();
    await delay(restMs());
    const createdMs = performance.now();
    await utils.addJob(TASK, PAYLOAD);
    const beganMs = await began.promise;
    if (task > 0) latencies.push(beganMs - createdMs);
    while (await hasJobs()) await delay(1);
  }
  await runner.stop();
  return latencies;
}

serve<Opening>(async (order) => {
  switch (order.do) {
    case "open":
      url = order.url;
      utils = await makeWorkerUtils({ connectionString: url, logger: new Logger(() => () => {}) });
      await utils.migrate();
      return undefined;
    case "drain":
      return await drain(order, order.tasks);
    case "await":
      return await awaitEach(order.tasks);
  }
});
