import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { planIssue } from "../../src/passes/plan-issue.ts";
import { concludePass, LONGEST_TEXT, MOST_TEXTS, MOST_URLS } from "../../src/passes/plan-pass.ts";
import { nextPosition } from "../../src/trackers/sync-tracker.ts";

const state = fc.constantFrom("open" as const, "closed" as const);
const task = fc.constantFrom("a", "b", "c");
const issue = fc.record({
  url: fc.constant("https://github.com/a/b/issues/1"),
  state,
  upstreamState: state,
  labels: fc.subarray(["x", "y"]),
  ruleLabel: fc.option(fc.constantFrom("x", "y"), { nil: undefined }),
  ruleTaskId: fc.option(task, { nil: undefined }),
  openTaskIds: fc.subarray(["a", "b", "c"]),
});

describe("the plan of an issue", () => {
  test("once carried out, leaves nothing to do", () => {
    fc.assert(
      fc.property(issue, (before) => {
        const plan = planIssue(before);
        const cancelled = plan.cancel.map(({ taskId }) => taskId);
        const open = before.openTaskIds.filter((id) => !cancelled.includes(id));
        const kept = plan.forgetTask ? undefined : before.ruleTaskId;
        const after = planIssue({
          ...before,
          state: plan.state ?? before.state,
          ruleTaskId: plan.createTask ? "new" : kept,
          openTaskIds: plan.createTask ? [...open, "new"] : open,
        });
        expect(after).toEqual({ state: undefined, cancel: [], createTask: false, forgetTask: false });
      }),
    );
  });

  test("ends in the tracker's state, without open tasks where that is closed, and makes at most one task", () => {
    fc.assert(
      fc.property(issue, (before) => {
        const { state, cancel, createTask } = planIssue(before);
        expect(state ?? before.state).toBe(before.upstreamState);
        const cancelled = cancel.map(({ taskId }) => taskId);
        expect(new Set(cancelled).size).toBe(cancelled.length);
        for (const id of cancelled) expect(before.openTaskIds).toContain(id);
        if (before.upstreamState === "closed") expect(cancelled).toEqual(before.openTaskIds);
        else for (const id of cancelled) expect(id).toBe(before.ruleTaskId);
        if (createTask) {
          expect([before.upstreamState, before.ruleTaskId]).toEqual(["open", undefined]);
          expect(before.labels).toContain(before.ruleLabel);
        }
      }),
    );
  });
});

const step = (more: object) => ({
  name: "s",
  summary: "",
  warnings: [],
  errors: [],
  touchedIssueUrls: [],
  ...more,
});
const many = (count: number) => Array.from({ length: count }, (_, index) => `text ${index}`);

describe("the conclusion of a pass", () => {
  test("is the worst of its steps", () => {
    expect(concludePass([step({}), step({})]).status).toBe("ok");
    expect(concludePass([step({ warnings: ["w"] }), step({})]).status).toBe("warning");
    expect(concludePass([step({ warnings: ["w"] }), step({ errors: ["e"] })]).status).toBe("error");
  });

  test("holds as many texts, addresses and characters as it may, and not one more", () => {
    expect(concludePass([step({ warnings: many(MOST_TEXTS) })]).warnings).toEqual(many(MOST_TEXTS));
    const over = concludePass([step({ errors: many(MOST_TEXTS + 1) })]).errors;
    expect(over).toHaveLength(MOST_TEXTS);
    expect(over.at(-1)).toBe("and 2 more");
    const urls = concludePass([step({ touchedIssueUrls: many(MOST_URLS + 1) })]);
    expect(urls.touchedIssueUrls).toHaveLength(MOST_URLS);
    expect(urls.summary).toContain(`${MOST_URLS + 1} issues touched`);
    const whole = "😀".repeat(LONGEST_TEXT);
    expect(concludePass([step({ warnings: [whole] })]).warnings).toEqual([whole]);
    const cut = concludePass([step({ warnings: [`${whole}x`] })]).warnings[0] ?? "";
    expect([...cut]).toHaveLength(LONGEST_TEXT);
  });

  test("names each text and address once", () => {
    const twice = step({ warnings: ["w"], touchedIssueUrls: ["u"] });
    expect(concludePass([twice, twice])).toMatchObject({ warnings: ["w"], touchedIssueUrls: ["u"] });
  });
});

describe("the next page", () => {
  test("follows the newest moment, by number only within one moment, and ends where nothing is newer", () => {
    const t1 = "2024-01-01T00:00:00Z";
    const t2 = "2024-01-02T00:00:00Z";
    const at = (since: string | undefined, page: number) => ({ since, page, etag: "" });
    expect(nextPosition(at(undefined, 1), { newest: undefined, more: false })).toBeUndefined();
    expect(nextPosition(at(undefined, 1), { newest: t1, more: false })).toEqual(at(t1, 1));
    expect(nextPosition(at(t1, 1), { newest: t1, more: true })).toEqual(at(t1, 2));
    expect(nextPosition(at(t1, 2), { newest: t2, more: true })).toEqual(at(t2, 1));
    expect(nextPosition(at(t2, 1), { newest: t2, more: false })).toBeUndefined();
  });
});
