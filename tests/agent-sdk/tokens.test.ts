import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fileCredentialStore, memoryCredentialStore } from "../../src/agent-sdk/agent-client.ts";
import { agentOf, fakeServer } from "./with-agent.ts";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "drover-sdk-"));
  path = join(folder, "state", "agent.token");
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("a renewed token", () => {
  it("is not used before it is stored, nor is the old one dropped before the new one was accepted", async () => {
    const server = await fakeServer();
    const steps: string[] = [];
    const stored = Promise.withResolvers<void>();
    const credentials = {
      ...memoryCredentialStore("drv_agt_old"),
      keepRenewed: (token: string) => {
        steps.push(`keep ${token}`);
        return stored.promise;
      },
      promoteRenewed: async () => {
        steps.push(`promote, by stream ${server.streams.length}`);
      },
    };
    server.answers.heartbeat = () => (server.streams.length === 1 ? { renewedToken: "drv_agt_new" } : {});
    const { client } = agentOf(server, { credentials });
    await client.start();
    // Beats go on with the old one while the store takes its time.
    await server.hears("heartbeat", ({ session }) => session?.sequence === 3n);
    expect(steps).toEqual(["keep drv_agt_new"]);
    expect(server.streams.map(({ token }) => token)).toEqual(["drv_agt_old"]);
    stored.resolve();
    await server.hears("heartbeat", (_, { stream }) => stream.number === 2);
    expect(server.streams.map(({ token }) => token)).toEqual(["drv_agt_old", "drv_agt_new"]);
    await client.leave();
    expect(steps).toEqual(["keep drv_agt_new", "promote, by stream 2"]);
  });

  it("that could not be stored is not used, and that is told", async () => {
    const server = await fakeServer();
    const credentials = {
      ...memoryCredentialStore("drv_agt_old"),
      keepRenewed: () => Promise.reject(new Error("disk full")),
    };
    server.answers.heartbeat = () => ({ renewedToken: "drv_agt_new" });
    const { client, sees } = agentOf(server, { credentials });
    await client.start();
    await sees("notice", ({ text }) => text.includes("disk full"));
    await server.hears("heartbeat", ({ session }) => session?.sequence === 3n);
    expect(server.streams).toHaveLength(1);
  });

  it("that was stored before a crash is the one that the next run uses", async () => {
    const before = fileCredentialStore(path);
    await before.replace("drv_agt_old");
    await before.keepRenewed("drv_agt_new");
    const server = await fakeServer();
    server.tokens = new Set(["drv_agt_new"]);
    const { client } = agentOf(server, { credentials: fileCredentialStore(path) });
    await client.start();
    await client.leave();
    expect(server.streams.map(({ token }) => token)).toEqual(["drv_agt_new"]);
    expect(await fileCredentialStore(path).load()).toEqual({ current: "drv_agt_new", renewed: undefined });
  });

  it("that the server does not know gives way to the one before", async () => {
    const store = fileCredentialStore(path);
    await store.replace("drv_agt_old");
    await store.keepRenewed("drv_agt_lost");
    const server = await fakeServer();
    server.tokens = new Set(["drv_agt_old"]);
    const { client } = agentOf(server, { credentials: store });
    await client.start();
    expect(server.streams.map(({ token }) => token)).toEqual(["drv_agt_old"]);
    expect(server.rotations).toEqual([]);
  });
});

it("a token that has expired renews itself, stored before it is used", async () => {
  const store = fileCredentialStore(path);
  await store.replace("drv_agt_expired");
  const server = await fakeServer();
  server.tokens = new Set();
  const { client } = agentOf(server, { credentials: store });
  await client.start();
  expect(server.rotations).toEqual(["drv_agt_expired"]);
  expect(server.stream.token).toBe("drv_agt_rotated");
  await client.leave();
  expect((await store.load())?.current).toBe("drv_agt_rotated");
});

it("a store of files writes them whole, for their owner alone, and leaves no drafts", async () => {
  const store = fileCredentialStore(path);
  expect(await store.load()).toBeUndefined();
  await store.replace("a");
  await store.keepRenewed("b");
  expect(await store.load()).toEqual({ current: "a", renewed: "b" });
  for (const name of ["agent.token", "agent.token.renewed"])
    expect(statSync(join(folder, "state", name)).mode & 0o777).toBe(0o600);
  await store.promoteRenewed();
  expect(readdirSync(join(folder, "state"))).toEqual(["agent.token"]);
  expect(readFileSync(path, "utf8")).toBe("b\n");
});
