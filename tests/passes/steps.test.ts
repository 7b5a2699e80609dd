import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { refusedStart } from "../helpers/server-process.ts";
import { usePasses } from "./pass-fixture.ts";

const folder = mkdtempSync(join(tmpdir(), "drover-steps-"));
const module = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
const own = module(
  "own.ts",
  `const step = (name: string, critical: boolean, run: (context: any) => Promise<unknown>) =>
    ({ name, critical, timeoutMs: 200, run });
  export default [
    step("throws", false, async () => { throw new Error("out of paper"); }),
    step("hangs", true, () => new Promise(() => {})),
    step("lies", false, async () => ({ warnings: "many" })),
    step("works", false, async ({ createTask, cancelTask, agentName, progress }) => {
      progress("half");
      const id = await createTask({ kind: "made", payload: { for: agentName } });
      const gone = await createTask({ kind: "unmade" });
      await cancelTask(gone, "not needed");
      return { summary: "made " + id, touchedIssueUrls: ["https://github.com/a/b/issues/9"] };
    }),
  ];`,
);
const bench = usePasses({ DROVER_PASS_STEPS: own });

describe("steps of an operator", () => {
  test("run behind the server's own, each harming no other", async () => {
    const project = await bench.project();
    bench.github.put("acme/steps", [{ number: 1 }]);
    await project.tracker("acme/steps");
    const answer = await project.pass();
    expect(answer).toMatchObject({ status: "error", errors: ["hangs: it took longer than 0.2 s"] });
    expect(answer.warnings).toEqual([
      "throws: it threw: out of paper",
      "lies: it threw an exception; the server's log has it",
    ]);
    expect(answer.touchedIssueUrls).toContain("https://github.com/a/b/issues/9");
    const run = (await project.rest("GET", `/api/v1/runs/${answer.runId}`)).body;
    expect(
      run.steps.map(({ name, status }: { name: string; status: string }) => `${name} ${status}`),
    ).toEqual(["sync ok", "reconcile ok", "throws warning", "hangs error", "lies warning", "works ok"]);
    const tasks = (await project.rest("GET", "/api/v1/tasks?orderBy=created_at")).body.tasks;
    expect(tasks).toMatchObject([
      { kind: "made", state: "pending", payload: { for: "nobody" } },
      { kind: "unmade", state: "cancelled" },
    ]);
    expect(bench.server.output()).toContain("out of paper");
  });

  test.each([
    ["is not there", join(folder, "none.ts"), /none\.ts cannot be loaded/],
    [
      "exports nothing",
      module("empty.ts", "export const a = 1;"),
      /empty\.ts does not export a step by default/,
    ],
    [
      "bears a name that is taken",
      module(
        "twice.ts",
        "export default { name: 'sync', critical: true, timeoutMs: 1, run: async () => {} };",
      ),
      /two steps named sync/,
    ],
  ])("that %s stop the start", async (_what, path, words) => {
    const { outcome, output } = await refusedStart({ env: { DROVER_PASS_STEPS: path } });
    expect(outcome).toBe(2);
    expect(output).toMatch(words);
    expect(output).toContain("DROVER_PASS_STEPS");
  });
});
