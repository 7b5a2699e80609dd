import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { TokenRole } from "../../gen/drover/v1/token_service_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { DOORS } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(async () => {
  await stage.close();
});

async function mint(maxUses: number): Promise<{ id: string; secret: string }> {
  const { token, secret } = await stage.operator.tokens.createToken({ role: TokenRole.ENROLLMENT, maxUses });
  return { id: token?.id ?? "", secret };
}

const usesOf = async (id: string) => (await stage.operator.tokens.getToken({ token: id })).token?.uses;
const beat = (token: string) => codeOf(stage.fleet.agent(token).heartbeat({ status: AgentStatus.ONLINE }));
const enroll = (secret: string, name: string, nonce = "", door: (typeof DOORS)[number] = "connect") =>
  stage.fleet.agent(secret, door).enroll({ name, nonce });

describe("an enrollment token", () => {
  test("enrolls as often as it was minted for, however many ask at once", async () => {
    const token = await mint(5);
    const codes = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        codeOf(enroll(token.secret, `crowd-${index}`, `nonce-${index}`, DOORS[index % DOORS.length])),
      ),
    );
    expect(codes.filter((code) => code === "ok").length).toBe(5);
    expect(codes.filter((code) => code === "Unauthenticated").length).toBe(15);
    expect(await usesOf(token.id)).toBe(5);
    const { agents } = await stage.operator.fleet.listAgents({ namePrefix: "crowd-" });
    expect(agents.length).toBe(5);
  });

  test("works once, unless said otherwise", async () => {
    const token = await mint(0);
    expect(await codeOf(enroll(token.secret, "once-1"))).toBe("ok");
    expect(await codeOf(enroll(token.secret, "once-2"))).toBe("Unauthenticated");
  });

  test("counts nothing for a name that exists", async () => {
    const token = await mint(2);
    await enroll(token.secret, "taken");
    expect(await codeOf(enroll(token.secret, "taken"))).toBe("AlreadyExists");
    expect(await codeOf(enroll(token.secret, "taken", "with a nonce"))).toBe("AlreadyExists");
    expect(await usesOf(token.id)).toBe(1);
    expect(await codeOf(enroll(token.secret, "free"))).toBe("ok");
  });

  test("enrolls nobody when it has expired or is revoked", async () => {
    const [expired, revoked] = [await mint(3), await mint(3)];
    await stage.sql`
      UPDATE tokens SET expires_at = clock_timestamp() WHERE id = ${expired.id.replace("token_", "")}`;
    await stage.operator.tokens.revokeToken({ token: revoked.id });
    for (const { secret } of [expired, revoked]) {
      expect(await codeOf(enroll(secret, "too-late"))).toBe("Unauthenticated");
    }
  });
});

describe("a repeated nonce", () => {
  test("gets the same agent a new secret, which ends the one before, also on a used-up token", async () => {
    const token = await mint(1);
    const first = await enroll(token.secret, "again", "n");
    expect(await beat(first.secret)).toBe("ok");
    const second = await enroll(token.secret, "again", "n");
    expect(second.agent?.id).toBe(first.agent?.id);
    expect(await beat(first.secret)).toBe("Unauthenticated");
    expect(await beat(second.secret)).toBe("ok");
    expect(await usesOf(token.id)).toBe(1);
    const { entries } = await stage.operator.events.listAuditEntries({
      action: ["agent.enrolled"],
      subject: "again",
    });
    expect(entries.length).toBe(1);
  });

  test("sent many times at once through every door: one agent, one use, one good secret", async () => {
    const token = await mint(9);
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, index) =>
        enroll(token.secret, "storm", "n", DOORS[index % DOORS.length]),
      ),
    );
    expect(new Set(answers.map(({ agent }) => agent?.id)).size).toBe(1);
    const codes: string[] = [];
    for (const { secret } of answers) codes.push(await beat(secret));
    expect(codes.filter((code) => code === "ok").length).toBe(1);
    expect(await usesOf(token.id)).toBe(1);
  });

  test("ends an unused renewal of the agent as well", async () => {
    const token = await mint(1);
    const { secret } = await enroll(token.secret, "renewing", "n");
    const { secret: renewal } = await stage.fleet.agent(secret).rotateToken({});
    const { secret: fresh } = await enroll(token.secret, "renewing", "n");
    expect(await beat(renewal)).toBe("Unauthenticated");
    expect(await beat(secret)).toBe("Unauthenticated");
    expect(await beat(fresh)).toBe("ok");
  });

  test("after its agent was removed enrolls a new one, and counts", async () => {
    const token = await mint(2);
    const first = await enroll(token.secret, "removed", "n");
    await stage.operator.fleet.removeAgent({ agent: "removed" });
    const second = await enroll(token.secret, "removed", "n");
    expect(second.agent?.id).not.toBe(first.agent?.id);
    expect(await usesOf(token.id)).toBe(2);
    await stage.operator.fleet.removeAgent({ agent: "removed" });
    expect(await codeOf(enroll(token.secret, "removed", "n"))).toBe("Unauthenticated");
  });

  test("on another token is another enrollment", async () => {
    const [one, two] = [await mint(1), await mint(1)];
    await enroll(one.secret, "first-token", "n");
    expect(await codeOf(enroll(two.secret, "first-token", "n"))).toBe("AlreadyExists");
    expect(await codeOf(enroll(two.secret, "second-token", "n"))).toBe("ok");
  });
});
