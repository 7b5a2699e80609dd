import { describe, expect, test } from "vitest";
import { planCall, SlotCount } from "../../src/sessions/slot-count.ts";
import type { CalledLoan, TaskRoom } from "../../src/sessions/task-room.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { assignerStage } from "./assigner-stage.ts";

const NOBODY = "nobody";

/** An agent with a stream, and calls of the same agent beside it. */
function stage() {
  const { queue, assigner, agent, projectId } = assignerStage();
  const rooms = new Map<string, TaskRoom>();
  const slots = new SlotCount((agentId) => rooms.get(agentId));
  const open = (name: string) => {
    const opened = agent(name, () => slots.isClaiming(name));
    rooms.set(name, opened.room);
    return opened;
  };
  let epochs = 0n;
  const loan = (id: string, remainingMs = 1): CalledLoan => ({ id, leaseEpoch: ++epochs, remainingMs });
  /** A task appears, and the line of streams is told. */
  const appear = (id: string) => {
    queue.add(id);
    assigner.wake(projectId, "work");
  };
  return { queue, slots, open, close: (name: string) => rooms.delete(name), loan, appear };
}

/** A call that waits until it is told what it brought. */
function waitingCall(slots: SlotCount, agentId: string, max: number) {
  const { promise, resolve, reject } = Promise.withResolvers<CalledLoan[]>();
  const asked: number[] = [];
  const answer = slots.claim(agentId, max, (most) => {
    asked.push(most);
    return promise;
  });
  return { answer, asked, bring: resolve, fail: reject };
}

const settled = () => new Promise(setImmediate);

describe("one count of slots over a stream and calls", () => {
  test("a stream gets nothing while a call waits, and what the call brought is deducted", async () => {
    const { slots, open, loan, appear } = stage();
    const { room, got } = open("a");
    await room.set(3, ["work"]);
    room.open();
    const call = waitingCall(slots, "a", 3);
    await waitFor(() => call.asked.length > 0);
    for (const id of ["1", "2", "3"]) appear(id);
    room.open();
    await settled();
    expect({ asked: call.asked, got }).toEqual({ asked: [3], got: [] });
    call.bring([loan("x"), loan("y")]);
    await call.answer;
    await waitFor(() => got.length > 0);
    await settled();
    expect(got).toEqual(["1"]);
  });

  test("all of the slots are open again after a call that brought nothing or failed", async () => {
    const { slots, open, appear } = stage();
    const { room, got } = open("a");
    await room.set(2, []);
    room.open();
    expect(await slots.claim("a", 1, async () => [])).toEqual([]);
    const call = waitingCall(slots, "a", 1);
    call.fail(new Error("aborted"));
    await expect(call.answer).rejects.toThrow("aborted");
    for (const id of ["1", "2", "3"]) appear(id);
    await waitFor(() => got.length === 2);
    expect(slots.isClaiming("a")).toBe(false);
  });

  test("a call brings more than the slots, and the stream then nothing", async () => {
    const { slots, open, loan, appear } = stage();
    const { room, got } = open("a");
    await room.set(1, []);
    room.open();
    const brought = await slots.claim("a", 3, async (max) => [loan("x"), loan("y"), loan("z")].slice(0, max));
    expect(brought).toHaveLength(3);
    appear("1");
    await settled();
    expect(got).toEqual([]);
    // None are left, and still it gets what it asks for.
    expect(await slots.claim("a", 1, async (max) => [loan("w")].slice(0, max))).toHaveLength(1);
  });

  test("a call waits for assignments on their way, and gets what they left of the slots", async () => {
    const { queue, slots, open, loan, appear } = stage();
    const { room, got } = open("a");
    const { promise, resolve } = Promise.withResolvers<void>();
    for (const id of ["1", "2", "3"]) queue.add(id);
    queue.gate = promise;
    await room.set(4, []);
    room.open();
    await waitFor(() => queue.claims === 1);
    const first = waitingCall(slots, "a", 4);
    const second = waitingCall(slots, "a", 1);
    await settled();
    expect([...first.asked, ...second.asked]).toEqual([]);
    resolve();
    await waitFor(() => first.asked.length + second.asked.length === 2);
    // Three of four slots were filled by the stream, and the fourth is for the first call alone.
    expect({ first: first.asked, second: second.asked, got }).toEqual({
      first: [1],
      second: [0],
      got: ["1", "2", "3"],
    });
    second.bring([]);
    await second.answer;
    appear("4");
    await settled();
    expect(got).toHaveLength(3);
    first.bring([loan("x")]);
    await first.answer;
    await settled();
    expect(got).toHaveLength(3);
  });

  test("a call is not kept waiting by an agent that does not read its stream", async () => {
    const { queue, slots, open } = stage();
    const { room, unread } = open("a");
    unread.count = 2;
    unread.blocks = new Promise(() => {});
    queue.add("1");
    await room.set(3, []);
    room.open();
    await waitFor(() => queue.claims === 1);
    const call = waitingCall(slots, "a", 5);
    await waitFor(() => call.asked.length > 0);
    expect(call.asked).toEqual([2]);
    call.bring([]);
    await call.answer;
  });

  test("a stream that is opened while a call waits gets nothing before the call's end", async () => {
    const { slots, open, loan, appear } = stage();
    const call = waitingCall(slots, "a", 1);
    const { room, got } = open("a");
    await room.set(2, []);
    room.open();
    appear("1");
    appear("2");
    await settled();
    expect(got).toEqual([]);
    call.bring([loan("x")]);
    await call.answer;
    await waitFor(() => got.length > 0);
    await settled();
    expect(got).toEqual(["1"]);
  });

  test("a stream that has ended meanwhile is left alone, and another agent's never stops", async () => {
    const { slots, open, close, loan, appear } = stage();
    const { room, got } = open("a");
    const other = open("b");
    await room.set(1, []);
    room.open();
    const call = waitingCall(slots, "a", 1);
    await other.room.set(1, []);
    other.room.open();
    appear("1");
    await waitFor(() => other.got.length === 1);
    room.close();
    close("a");
    call.bring([loan("x")]);
    expect(await call.answer).toHaveLength(1);
    expect(await slots.claim(NOBODY, 2, async (max) => [loan("y"), loan("z")].slice(0, max))).toHaveLength(2);
    expect(got).toEqual([]);
  });

  test("what a repeated call brings again takes no other slot, nor what it lost meanwhile", async () => {
    const { slots, open, loan, appear } = stage();
    const { room, got } = open("a");
    await room.set(3, []);
    const first = [loan("x")];
    await slots.claim("a", 1, async () => first);
    await slots.claim("a", 1, async () => [...first, loan("y", 0)]);
    for (const id of ["1", "2", "3"]) appear(id);
    await waitFor(() => got.length === 2);
    await settled();
    expect(got).toEqual(["1", "2"]);
  });

  test("a new word on slots is deducted from by a call that is still to be answered", async () => {
    const { slots, open, loan, appear } = stage();
    const { room, got } = open("a");
    await room.set(1, []);
    const call = waitingCall(slots, "a", 1);
    await waitFor(() => call.asked.length > 0);
    await room.set(2, []);
    room.open();
    call.bring([loan("x")]);
    await call.answer;
    for (const id of ["1", "2"]) appear(id);
    await waitFor(() => got.length === 1);
    await settled();
    expect(got).toEqual(["1"]);
  });
});

test.each([
  [{ max: 1, free: 1, crossed: 3 }, 1],
  [{ max: 4, free: 1, crossed: 3 }, 1],
  [{ max: 6, free: 1, crossed: 3 }, 3],
  [{ max: 1, free: 0, crossed: 1 }, 0],
  [{ max: 5, free: 0, crossed: 0 }, 5],
  [{ max: 2, free: 4, crossed: 0 }, 2],
])("a call %o may bring %i", (call, granted) => {
  expect(planCall(call)).toBe(granted);
});
