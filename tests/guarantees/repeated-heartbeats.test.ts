import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { codeOf } from "../helpers/code-of.ts";
import { DOORS, type EnrolledAgent, enrollAgent } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { auditChainProblems } from "./audit-chain.ts";
import { wrongAfterRepeats } from "./check-repeats.ts";
import {
  answerIn,
  type Beat,
  beats,
  type Expected,
  HeartbeatModel,
  placeOf,
  requestOf,
} from "./heartbeat-model.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(async () => {
  await stage.close();
});

/** A busy machine gets through fewer runs; that is no failure of the server. */
const WITHIN = { interruptAfterTimeLimit: 12_000, markInterruptAsFailure: false };

interface Stored {
  status: string;
  epoch: number;
  sequence: number;
  place: number | null;
  errors: number;
  statusChanges: number;
}

async function storedOf({ uuid }: EnrolledAgent): Promise<Stored | undefined> {
  const [row] = await stage.sql<Stored[]>`
    SELECT status, epoch::int, sequence::int,
      (SELECT (gauges ->> 'at')::int FROM agents WHERE id = agent_id) AS place,
      (SELECT coalesce(sum(occurrences), 0)::int FROM error_reports WHERE agent_id = ${uuid}) AS errors,
      (SELECT count(*)::int FROM audit_entries
        WHERE subject = ${`agent_${uuid}`} AND field = 'status') AS "statusChanges"
    FROM agent_states WHERE agent_id = ${uuid}`;
  return row;
}

async function send(agent: EnrolledAgent, beat: Beat): Promise<Expected> {
  const call = stage.fleet.agent(agent.token, beat.door).heartbeat(requestOf(beat));
  const code = await codeOf(call);
  if (code === "Aborted") return { superseded: true };
  return answerIn(await call);
}

describe("one sequence of one run has one effect, and an older one never overwrites a newer", () => {
  test("repeats, reorderings and restarts over mixed doors are answered as the model says", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(beats, { minLength: 1, maxLength: 14 }), async (sequenceOfBeats) => {
        const agent = await enrollAgent(stage.fleet, stage.operator);
        const model = new HeartbeatModel();
        for (const beat of sequenceOfBeats) expect(await send(agent, beat)).toEqual(model.take(beat));
        const { status, epoch, sequence, place, errors, statusChanges } = model;
        expect(await storedOf(agent)).toEqual({ status, epoch, sequence, place, errors, statusChanges });
      }),
      { numRuns: 50, ...WITHIN },
    );
    expect(await auditChainProblems(stage.sql)).toEqual([]);
  });

  test("each heartbeat sent several times at once, in any order: one effect each, the newest wins", async () => {
    const shuffled = fc
      .uniqueArray(beats, { selector: ({ sequence }) => sequence, minLength: 2, maxLength: 6 })
      .map((some) => some.map((beat): Beat => ({ ...beat, boot: 0 })))
      .chain((some) =>
        fc.shuffledSubarray([...some, ...some, ...some], {
          minLength: some.length * 3,
          maxLength: some.length * 3,
        }),
      );
    await fc.assert(
      fc.asyncProperty(shuffled, fc.infiniteStream(fc.constantFrom(...DOORS)), async (sent, doors) => {
        const agent = await enrollAgent(stage.fleet, stage.operator);
        const answers = await Promise.all(
          sent.map(async (beat) => ({
            beat,
            answer: await send(agent, { ...beat, door: doors.next().value ?? "grpc" }),
          })),
        );
        const newest = sent.reduce((one, other) => (other.sequence > one.sequence ? other : one));
        const withErrors = new Set(
          sent.filter(({ error }) => error !== "none").map(({ sequence }) => sequence),
        );
        const stored = await storedOf(agent);
        const status = newest.error === "fatal" ? "error" : newest.status;
        expect(stored).toMatchObject({
          status,
          sequence: newest.sequence,
          place: placeOf(newest),
          epoch: 1,
          errors: withErrors.size,
        });
        // Who was not told "duplicate" had the effect: one for each sequence at most, and one that changed a status
        // for each entry of the audit log.
        const effective = answers.filter(({ answer }) => !answer.superseded && !answer.duplicate);
        expect(new Set(effective.map(({ beat }) => beat.sequence)).size).toBe(effective.length);
        const changes = effective.filter(
          ({ answer }) => !answer.superseded && answer.transition !== undefined,
        );
        expect(changes.length).toBe(stored?.statusChanges);
      }),
      { numRuns: 25, ...WITHIN },
    );
    expect(await auditChainProblems(stage.sql)).toEqual([]);
  });

  test("a fatal one repeated at once through every door stores one error and gives one account of it", async () => {
    expect(await wrongAfterRepeats(stage)).toEqual([]);
  });

  test("without a session nothing is deduplicated", async () => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    const { session: _, ...beat } = requestOf({
      door: "rest",
      boot: 0,
      sequence: 1,
      status: "busy",
      error: "warning",
    });
    for (const door of DOORS) {
      expect((await stage.fleet.agent(agent.token, door).heartbeat(beat)).duplicate).toBe(false);
    }
    expect(await storedOf(agent)).toMatchObject({ status: "busy", errors: DOORS.length, statusChanges: 1 });
  });
});
