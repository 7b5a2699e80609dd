import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { type EnrolledAgent, enrollAgents } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";

let stage: Stage;
let one: EnrolledAgent;
let two: EnrolledAgent;
beforeAll(async () => {
  stage = await setStage();
  const [first, second] = await enrollAgents(stage.fleet, stage.operator, 2);
  if (first === undefined || second === undefined) throw new Error("two agents are needed");
  [one, two] = [first, second];
});
afterAll(async () => {
  await stage.close();
});

const report = (agent: EnrolledAgent, message: string, severity = Severity.MAJOR) =>
  stage.fleet.agent(agent.token).reportError({ severity, message });

describe("pages of errors, while more come between them", () => {
  test.each(["created_at", "created_at desc"])(
    "%s: each that was there comes once, in order",
    async (orderBy) => {
      const marked = `paged ${orderBy.replace(" ", "-")}`;
      const words = ["alpha", "beta", "gamma", "delta", "epsilon"];
      const before: string[] = [];
      for (let index = 0; index < 23; index++) {
        const answer = await report(index % 2 === 0 ? one : two, `${marked} ${words[index % 5]}`);
        before.push(answer.errorReport?.id ?? "");
      }
      const seen: string[] = [];
      let pageToken = "";
      let pages = 0;
      do {
        const page = await stage.operator.fleet.listErrors({ pageSize: 5, pageToken, orderBy });
        seen.push(...page.errors.filter(({ message }) => message.startsWith(marked)).map(({ id }) => id));
        pageToken = page.nextPageToken;
        pages += 1;
        if (pages < 12) await Promise.all([report(one, "in between"), report(two, "in between as well")]);
      } while (pageToken !== "");
      expect(pages).toBeGreaterThan(4);
      expect(seen).toEqual(orderBy === "created_at" ? before : before.toReversed());
    },
  );

  test("a page token of another filter, order or list is refused", async () => {
    const { fleet, events } = stage.operator;
    const { nextPageToken: pageToken } = await fleet.listErrors({ pageSize: 1 });
    expect(pageToken).not.toBe("");
    expect(await codeOf(fleet.listErrors({ pageSize: 7, pageToken }))).toBe("ok");
    const refused = [
      () => fleet.listErrors({ pageToken, agent: one.name }),
      () => fleet.listErrors({ pageToken, orderBy: "created_at" }),
      () => fleet.listErrors({ pageToken, severity: [Severity.MAJOR] }),
      () => fleet.listErrorGroups({ pageToken }),
      () => fleet.listAgents({ pageToken }),
      () => events.listAuditEntries({ pageToken }),
      () => fleet.listErrors({ pageToken: pageToken.slice(0, -4) }),
      () => fleet.listErrors({ pageToken: "bm90IGEgdG9rZW4" }),
    ];
    for (const call of refused) expect(await codeOf(call())).toBe("InvalidArgument");
  });
});

describe("filters", () => {
  test("by agent, severity, fingerprint and time", async () => {
    const { fleet } = stage.operator;
    const { errorReport } = await report(one, "filtered for itself", Severity.CRITICAL);
    await report(two, "filtered for itself", Severity.CRITICAL);
    const list = async (request: Parameters<typeof fleet.listErrors>[0]) =>
      (await fleet.listErrors({ pageSize: 1000, ...request })).errors;
    const fingerprint = errorReport?.fingerprint ?? "";
    expect((await list({ fingerprint })).map(({ agent }) => agent).sort()).toEqual(
      [one.name, two.name].sort(),
    );
    expect((await list({ fingerprint, agent: one.name })).map(({ id }) => id)).toEqual([errorReport?.id]);
    expect((await list({ severity: [Severity.CRITICAL] })).length).toBe(2);
    expect(await list({ severity: [Severity.INFO] })).toEqual([]);
    expect(await list({ agent: "nobody" })).toEqual([]);
    const since = errorReport?.createdAt ?? timestampFromDate(new Date(0));
    expect((await list({ since })).length).toBe(2);
    expect(await list({ since: { ...since, seconds: since.seconds + 60n } })).toEqual([]);
  });

  test("errors of a removed agent stay, under its id", async () => {
    const [agent] = await enrollAgents(stage.fleet, stage.operator, 1);
    if (agent === undefined) throw new Error("no agent");
    await report(agent, "last words");
    await stage.operator.fleet.removeAgent({ agent: agent.name });
    const { errors } = await stage.operator.fleet.listErrors({ agent: `agent_${agent.uuid}` });
    expect(errors).toMatchObject([
      { message: "last words", agent: agent.name, agentId: `agent_${agent.uuid}` },
    ]);
  });
});

describe("groups", () => {
  test("gather what differs in numbers, hexadecimal and ids alone, over agents", async () => {
    const { fleet } = stage.operator;
    for (const [agent, message] of [
      [one, "job 17 lost at 0xdeadbeef"],
      [two, "job 4711 lost at 0xcafe"],
      [two, "job 2 lost at 0x0"],
    ] as const) {
      await report(agent, message, Severity.MINOR);
    }
    await report(one, "job 17 lost at 0xdeadbeef", Severity.CRITICAL);
    const groupsOf = async (severity: Severity, agent = "") =>
      (await fleet.listErrorGroups({ severity: [severity], agent, pageSize: 1000 })).errorGroups.filter(
        ({ message }) => message.startsWith("job "),
      );
    expect(await groupsOf(Severity.MINOR)).toMatchObject([
      { count: 3, agentCount: 2, severity: Severity.MINOR },
    ]);
    expect(await groupsOf(Severity.MINOR, two.name)).toMatchObject([{ count: 2, agentCount: 1 }]);
    expect(await groupsOf(Severity.CRITICAL)).toMatchObject([{ count: 1, agentCount: 1 }]);
    const [group] = await groupsOf(Severity.MINOR);
    const { errors } = await fleet.listErrors({ fingerprint: group?.fingerprint ?? "" });
    expect(errors.length).toBe(3);
    expect(errors.at(-1)?.createdAt).toEqual(group?.firstSeenAt);
    expect(errors[0]?.lastSeenAt).toEqual(group?.lastSeenAt);
  });

  test("the pages hold every group that stands still once, the one seen last first", async () => {
    const { fleet } = stage.operator;
    const letters = "abcdefghijklmnop".split("");
    for (const letter of letters) await report(one, `group ${letter.repeat(3)}`, Severity.INFO);
    const seen: string[] = [];
    let pageToken = "";
    do {
      const page = await fleet.listErrorGroups({ pageSize: 3, pageToken, severity: [Severity.INFO] });
      seen.push(
        ...page.errorGroups.map(({ message }) => message).filter((message) => message.startsWith("group ")),
      );
      pageToken = page.nextPageToken;
      await report(two, "noise in between", Severity.INFO);
    } while (pageToken !== "");
    expect(seen).toEqual(letters.toReversed().map((letter) => `group ${letter.repeat(3)}`));
  });
});
