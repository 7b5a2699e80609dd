import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { planDeal } from "../../src/tasks/plan-deal.ts";
import { planRounds } from "../../src/tasks/plan-rounds.ts";

const sizes = fc.array(fc.integer({ min: 1, max: 10 }), { maxLength: 30 });
const maxima = fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 8 });
const candidatesOf = (bytes: number[]) => bytes.map((each, n) => ({ taskId: String(n), bytes: each }));
const sum = (numbers: number[]) => numbers.reduce((all, each) => all + each, 0);
const deal = (bytes: number[], max: number[], eachBytes = 1_000, allBytes = 1_000) => {
  const plan = planDeal(
    candidatesOf(bytes),
    max.map((each) => ({ max: each })),
    { eachBytes, allBytes },
  );
  return { ...plan, hands: plan.hands.map((hand) => hand.map(({ taskId }) => Number(taskId))) };
};

describe("a deal of tasks", () => {
  test("gives each agent its first before anyone has a second, in the order of both", () => {
    expect(deal([1, 1, 1, 1, 1], [3, 1, 5]).hands).toEqual([[0, 3], [1], [2, 4]]);
    expect(deal([1, 1], [1, 1, 1]).hands).toEqual([[0], [1], []]);
  });

  test("gives no task twice and leaves out none of those before the last one", () => {
    fc.assert(
      fc.property(sizes, maxima, (bytes, max) => {
        const { hands, isCut } = deal(bytes, max);
        const dealt = hands.flat().toSorted((a, b) => a - b);
        expect(dealt).toEqual(Array.from({ length: Math.min(bytes.length, sum(max)) }, (_, n) => n));
        expect(isCut).toBe(false);
      }),
    );
  });

  test("keeps to what each agent wished for and to the size of its answer, but for a first task", () => {
    fc.assert(
      fc.property(sizes, maxima, fc.integer({ min: 1, max: 20 }), (bytes, max, cap) => {
        const { hands } = deal(bytes, max, cap);
        for (const [place, hand] of hands.entries()) {
          expect(hand.length).toBeLessThanOrEqual(max[place] ?? 0);
          if (hand.length > 1) expect(sum(hand.map((n) => bytes[n] ?? 0))).toBeLessThanOrEqual(cap);
          expect(hand).toEqual(hand.toSorted((a, b) => a - b));
        }
        // What stays was overtaken by nothing.
        const dealt = hands.flat();
        expect(Math.max(-1, ...dealt)).toBe(dealt.length - 1);
      }),
    );
  });

  test("is fair: who has two fewer than another one had no room for more", () => {
    fc.assert(
      fc.property(sizes, maxima, fc.integer({ min: 1, max: 20 }), (bytes, max, cap) => {
        const { hands } = deal(bytes, max, cap);
        const most = Math.max(0, ...hands.map(({ length }) => length));
        for (const [place, hand] of hands.entries()) {
          if (hand.length >= most - 1 || hand.length === max[place]) continue;
          const tooLarge = bytes.some((each) => sum(hand.map((n) => bytes[n] ?? 0)) + each > cap);
          expect(tooLarge).toBe(true);
        }
      }),
    );
  });

  test("ends when all answers together are full, and says so", () => {
    expect(deal([4, 4, 4], [2, 1], 1_000, 9)).toEqual({ hands: [[0], [1]], bytes: 8, isCut: true });
    expect(deal([4, 4, 4], [1, 1], 1_000, 8)).toEqual({ hands: [[0], [1]], bytes: 8, isCut: false });
  });
});

describe("rounds of claims", () => {
  const claims = fc.array(
    fc.record({ projectId: fc.constantFrom("a", "b", "c"), max: fc.integer({ min: 1, max: 20 }) }),
    { maxLength: 30 },
  );

  test("hold every claim once, those of a project in their order, and no more than one of them may", () => {
    fc.assert(
      fc.property(claims, (all) => {
        const rounds = planRounds(all, 25);
        for (const projectId of ["a", "b", "c"]) {
          const own = (some: typeof all) => some.filter((claim) => claim.projectId === projectId);
          expect(own(rounds.flat())).toEqual(own(all));
        }
        expect(rounds.flat()).toHaveLength(all.length);
        for (const round of rounds) {
          expect(round.length).toBeGreaterThan(0);
          if (round.length > 1) expect(sum(round.map(({ max }) => max))).toBeLessThanOrEqual(25);
        }
      }),
    );
  });

  test("let a project's only claim pass a crowd of another one", () => {
    const crowd = Array.from({ length: 50 }, () => ({ projectId: "crowd", max: 10 }));
    const [first] = planRounds([...crowd, { projectId: "single", max: 10 }], 20);
    expect(first?.map(({ projectId }) => projectId)).toEqual(["crowd", "single"]);
  });
});
