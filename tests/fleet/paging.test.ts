import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus, Liveness } from "../../gen/drover/v1/agent_pb.js";
import { TokenRole } from "../../gen/drover/v1/token_service_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { type Stage, setStage } from "../helpers/stage.ts";

let stage: Stage;
let enrollment: string;
const tokens = new Map<string, string>();
beforeAll(async () => {
  stage = await setStage();
  enrollment = (await stage.operator.tokens.createToken({ role: TokenRole.ENROLLMENT, maxUses: 200 })).secret;
  for (let index = 0; index < 30; index++)
    await enroll(`m-${String(index).padStart(2, "0")}`, { zone: zoneOf(index) });
});
afterAll(async () => {
  await stage.close();
});

const zoneOf = (index: number) => (index % 3 === 0 ? "a" : "b");

async function enroll(name: string, labels: Record<string, string> = {}): Promise<void> {
  const { secret } = await stage.fleet.agent(enrollment).enroll({ name, labels });
  tokens.set(name, secret);
}

interface Listing {
  orderBy?: string;
  pageSize?: number;
  namePrefix?: string;
  labels?: string[];
  status?: AgentStatus[];
  liveness?: Liveness[];
}

/** All names over all pages; `between` runs after each page but the last. */
async function walk(
  listing: Listing,
  between: (page: number) => Promise<unknown> = async () => {},
): Promise<string[]> {
  const names: string[] = [];
  let pageToken = "";
  for (let page = 1; ; page++) {
    const answer = await stage.operator.fleet.listAgents({ pageSize: 4, ...listing, pageToken });
    names.push(...answer.agents.map(({ name }) => name));
    pageToken = answer.nextPageToken;
    if (pageToken === "") return names;
    await between(page);
  }
}

const originals = Array.from({ length: 30 }, (_, index) => `m-${String(index).padStart(2, "0")}`);

describe("pages of agents", () => {
  test.each(["", "name", "name desc", "created_at", "created_at desc"])(
    "by %j: agents that stay come once and in order, while others come and go",
    async (orderBy) => {
      const made: string[] = [];
      const names = await walk({ orderBy }, async (page) => {
        // Before, behind and in the middle of where the walk stands; and one that the walk has seen or will see goes.
        for (const stem of ["a", `m-1${page}x`, "z"]) {
          const name = `${stem}-${orderBy.replaceAll(/\W/g, "")}-${page}`;
          await enroll(name);
          made.push(name);
        }
        const gone = made.shift();
        if (gone !== undefined) await stage.operator.fleet.removeAgent({ agent: gone });
      });
      expect(new Set(names).size).toBe(names.length);
      const stayed = names.filter((name) => originals.includes(name));
      expect(stayed).toEqual(orderBy.endsWith("desc") ? originals.toReversed() : originals);
      for (const agent of made) await stage.operator.fleet.removeAgent({ agent });
    },
  );

  test("end exactly: no empty last page, and any size gives the same agents", async () => {
    for (const pageSize of [1, 6, 29, 30, 31, 1000]) {
      let pages = 1;
      const names = await walk({ pageSize }, async () => {
        pages += 1;
      });
      expect(names).toEqual(originals);
      expect(pages).toBe(Math.ceil(30 / pageSize));
    }
  });

  test("by last heartbeat: the never heard first, then by time", async () => {
    const heard = ["m-07", "m-03", "m-21"];
    for (const name of heard) {
      await stage.fleet.agent(tokens.get(name) ?? "").heartbeat({ status: AgentStatus.BUSY });
    }
    const names = await walk({ orderBy: "last_heartbeat_at" });
    expect(names.slice(-3)).toEqual(heard);
    expect([...names].sort()).toEqual(originals);
    expect(await walk({ orderBy: "last_heartbeat_at desc" })).toEqual(names.toReversed());
    expect(await walk({ status: [AgentStatus.BUSY] })).toEqual([...heard].sort());
    expect(await walk({ liveness: [Liveness.LIVE], pageSize: 2 })).toEqual([...heard].sort());
  });

  test("filtered: by prefix and labels, on every page", async () => {
    const inZone = originals.filter((_, index) => zoneOf(index) === "a");
    expect(await walk({ labels: ["zone=a"], pageSize: 3 })).toEqual(inZone);
    expect(await walk({ namePrefix: "m-1", pageSize: 3 })).toEqual(originals.slice(10, 20));
    expect(await walk({ namePrefix: "m-1", labels: ["zone=a"] })).toEqual(
      inZone.filter((name) => name < "m-2" && name >= "m-1"),
    );
    expect(await walk({ namePrefix: "%" })).toEqual([]);
    expect(await walk({ labels: ["zone=c"] })).toEqual([]);
    const both = stage.operator.fleet.listAgents({ labels: ["zone=b", "zone=a"] });
    expect(await codeOf(both)).toBe("InvalidArgument");
  });
});

test("a page token of another filter, order or list, or of nobody, is refused", async () => {
  const { fleet, events, tokens: tokenApi } = stage.operator;
  const { nextPageToken: pageToken } = await fleet.listAgents({ pageSize: 3 });
  const { nextPageToken: tokenList } = await tokenApi.listTokens({ pageSize: 1 });
  expect(await codeOf(fleet.listAgents({ pageSize: 5, pageToken }))).toBe("ok");
  const refused = [
    () => fleet.listAgents({ pageToken, orderBy: "name desc" }),
    () => fleet.listAgents({ pageToken, namePrefix: "m" }),
    () => fleet.listAgents({ pageToken, status: [AgentStatus.BUSY] }),
    () => fleet.listAgents({ pageToken, labels: ["zone=a"] }),
    () => fleet.listAgents({ pageToken: tokenList }),
    () => fleet.listErrors({ pageToken }),
    () => events.listAuditEntries({ pageToken }),
    () => tokenApi.listTokens({ pageToken }),
    () => fleet.listAgents({ pageToken: "nonsense" }),
    () =>
      fleet.listAgents({
        pageToken: Buffer.from('["", "m-1", "; DROP TABLE agents"]').toString("base64url"),
      }),
  ];
  for (const call of refused) expect(await codeOf(call())).toBe("InvalidArgument");
});
