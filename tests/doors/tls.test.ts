import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ConnectionOptions, connect as tlsConnect } from "node:tls";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService, HeartbeatRequestSchema } from "../../gen/drover/v1/agent_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TaskState } from "../../gen/drover/v1/task_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { TokenRole, TokenService } from "../../gen/drover/v1/token_service_pb.js";
import {
  AgentClient,
  type AgentEvent,
  type AgentOptions,
  enrollAgent,
  memoryCredentialStore,
} from "../../src/agent-sdk/agent-client.ts";
import { fetchWith } from "../../src/cli/tls-fetch.ts";
import { readConfig } from "../../src/config.ts";
import { scrubJson } from "../../src/error-reports/scrub-secrets.ts";
import { createLogger } from "../../src/observability/logger.ts";
import { openTls } from "../../src/wiring/open-tls.ts";
import {
  type Authority,
  createAuthority,
  createTlsFolder,
  type Identity,
  type TlsFolder,
} from "../helpers/certificates.ts";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { runDrover, startDrover } from "../helpers/run-drover.ts";
import { waitFor } from "../helpers/wait-for.ts";

let authority: Authority;
let folder: TlsFolder;
let server: TestControlPlane;

interface ClientTls {
  ca?: string;
  cert?: string;
  key?: string;
}

beforeAll(async () => {
  authority = await createAuthority();
  folder = await createTlsFolder(await authority.issue(), authority.ca);
  server = await startControlPlane({
    settings: { DROVER_TLS_CERT: folder.cert, DROVER_TLS_KEY: folder.key },
  });
});
afterAll(async () => {
  await server.stop();
  await folder.remove();
});

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

/** Every way to call over TLS; browser.test.ts has the browser. */
const WAYS = {
  "gRPC to the native port": ({ grpcAddress }: TestControlPlane, nodeOptions: ClientTls) =>
    createGrpcTransport({ baseUrl: `https://${grpcAddress}`, nodeOptions }),
  "gRPC to the web port": ({ httpUrl }: TestControlPlane, nodeOptions: ClientTls) =>
    createGrpcTransport({ baseUrl: httpUrl, nodeOptions }),
  "Connect over HTTP/1.1": ({ httpUrl }: TestControlPlane, nodeOptions: ClientTls) =>
    createConnectTransport({ baseUrl: httpUrl, httpVersion: "1.1", nodeOptions }),
  "Connect over HTTP/2": ({ httpUrl }: TestControlPlane, nodeOptions: ClientTls) =>
    createConnectTransport({ baseUrl: httpUrl, httpVersion: "2", nodeOptions }),
  "gRPC-Web over HTTP/1.1": ({ httpUrl }: TestControlPlane, nodeOptions: ClientTls) =>
    createGrpcWebTransport({ baseUrl: httpUrl, httpVersion: "1.1", nodeOptions }),
} satisfies Record<string, (server: TestControlPlane, tls: ClientTls) => Transport>;

const fleetOf = (transport: Transport, token: string) =>
  createClient(FleetService, transport).listAgents({}, { ...bearer(token), timeoutMs: 10_000 });

/** The protocol and version of a handshake, or the code of what went wrong. */
function shakeHands(
  address: string,
  options: ConnectionOptions,
): Promise<{ alpn: string | false | null; version: string | null } | string> {
  const [host = "", port = ""] = address.split(":");
  return new Promise((resolve) => {
    const socket = tlsConnect({ host, port: Number(port), ca: authority.ca, ...options });
    socket.once("secureConnect", () => {
      resolve({ alpn: socket.alpnProtocol, version: socket.getProtocol() });
      socket.destroy();
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

const webAddress = () => new URL(server.httpUrl).host;

describe.each(Object.entries(WAYS))("%s", (_, open) => {
  test("is served over TLS", async () => {
    const { agents } = await fleetOf(open(server, { ca: authority.ca }), server.operatorToken);
    expect(agents).toEqual([]);
  });

  test("a server that nobody known vouches for is not believed", async () => {
    const error = await fleetOf(open(server, {}), server.operatorToken).catch(ConnectError.from);
    expect(error).toMatchObject({ code: Code.Internal });
  });
});

test("a grpc-js client is served over TLS", async () => {
  const client = new Client(server.grpcAddress, credentials.createSsl(Buffer.from(authority.ca)));
  const code = await new Promise((resolve) =>
    client.makeUnaryRequest(
      "/drover.v1.FleetService/ListAgents",
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      Buffer.alloc(0),
      new Metadata(),
      (error) => resolve(error?.code),
    ),
  );
  client.close();
  expect(code).toBe(Code.Unauthenticated);
});

test("REST is served over TLS, and the command line speaks to it", async () => {
  const init = {
    method: "GET",
    headers: {},
    redirect: "manual",
    signal: AbortSignal.timeout(10_000),
  } as const;
  const answer = await fetchWith({ ca: authority.ca })(`${server.httpUrl}/healthz`, init);
  expect([answer.status, await answer.json()]).toEqual([200, { status: "ok" }]);
  const env = { DROVER_URL: server.httpUrl, DROVER_TOKEN: server.operatorToken };
  expect(await runDrover(["agents"], { env: { ...env, DROVER_CA: folder.ca } })).toMatchObject({
    code: 0,
  });
  const untrusting = await runDrover(["agents"], { env });
  expect(untrusting).toMatchObject({ code: 6 });
  expect(untrusting.stderr).toContain("--ca");
});

test("an agent enrolls, claims and completes over TLS", async () => {
  const transport = createGrpcTransport({
    baseUrl: `https://${server.grpcAddress}`,
    nodeOptions: { ca: authority.ca },
  });
  const asOperator = bearer(server.operatorToken);
  const tokens = createClient(TokenService, transport);
  const { secret } = await tokens.createToken({ role: TokenRole.ENROLLMENT }, asOperator);
  const tasks = createClient(TaskService, transport);
  const { task } = await tasks.createTask({ kind: "echo" }, asOperator);
  // The SDK is what speaks for it.
  const args = [
    "agent",
    "run",
    "--name",
    "tls-1",
    "--state-dir",
    join(folder.folder, "agent"),
    "--on",
    "echo=cat",
  ];
  const env = {
    DROVER_TOKEN: secret,
    DROVER_GRPC_URL: `https://${server.grpcAddress}`,
    DROVER_CA: folder.ca,
  };
  const agent = startDrover(args, { env });
  const ended = once(agent, "close");
  try {
    const shown = () => tasks.getTask({ task: task?.id ?? "" }, asOperator);
    await waitFor(async () => (await shown()).task?.state === TaskState.SUCCEEDED);
  } finally {
    agent.kill("SIGTERM");
    await ended;
  }
  const { agents } = await createClient(FleetService, transport).listAgents({}, asOperator);
  expect(agents.map(({ name }) => name)).toEqual(["tls-1"]);
});

test("ALPN settles the protocol, and TLS 1.2 is the oldest that is spoken", async () => {
  const tls12 = { minVersion: "TLSv1.2", maxVersion: "TLSv1.2" } as const;
  const old = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT:@SECLEVEL=0" } as const;
  for (const [address, protocols] of [
    [webAddress(), ["h2", "http/1.1"]],
    [server.grpcAddress, ["h2"]],
  ] as const) {
    for (const protocol of protocols) {
      const options = { ALPNProtocols: [protocol] };
      expect(await shakeHands(address, options)).toEqual({ alpn: protocol, version: "TLSv1.3" });
      expect(await shakeHands(address, { ...options, ...tls12 })).toEqual({
        alpn: protocol,
        version: "TLSv1.2",
      });
      expect(await shakeHands(address, { ...options, ...old })).toBe("ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION");
    }
    expect(await shakeHands(address, { ALPNProtocols: ["smtp"] })).toBe(
      "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
    );
  }
});

test("cleartext gets no answer on a port that speaks TLS, and harms nobody", async () => {
  const cleartext = fetch(`http://${webAddress()}/healthz`);
  await expect(cleartext).rejects.toThrow();
  await fleetOf(WAYS["Connect over HTTP/1.1"](server, { ca: authority.ca }), server.operatorToken);
});

test("whoever leaves in the middle of a handshake leaves nothing behind", async () => {
  const own = await startControlPlane({
    settings: { DROVER_TLS_CERT: folder.cert, DROVER_TLS_KEY: folder.key },
  });
  for (const address of [new URL(own.httpUrl).host, own.grpcAddress]) {
    // Ends in the client's last step, before the server has heard of it.
    await shakeHands(address, { ALPNProtocols: ["h2"] });
    await shakeHands(address, { ALPNProtocols: ["h2"], ca: "" });
  }
  // What it waits for is the grace of open calls; a handshake has longer than that to be complete.
  await Promise.race([
    own.stop(),
    new Promise((_, late) => setTimeout(() => late(new Error("stuck")), 8_000)),
  ]);
});

/** An agent by the SDK alone, and the states of its connection; it does tasks of the kind `echo`. */
async function startAgent(
  { grpcAddress }: TestControlPlane,
  enrollmentToken: string,
  { tls, name }: { tls: NonNullable<AgentOptions["tls"]>; name: string },
): Promise<{ client: AgentClient; states: string[] }> {
  const where = { url: `https://${grpcAddress}`, tls };
  const token = await enrollAgent({ ...where, name, nonce: name, enrollmentToken });
  const states: string[] = [];
  const onEvent = (event: AgentEvent) => {
    if (event.kind === "state") states.push(event.state.kind);
  };
  const client = new AgentClient({ ...where, credentials: memoryCredentialStore(token), onEvent });
  void client.work({ echo: async (payload) => payload });
  await client.start();
  return { client, states };
}

/** Waits until somebody has done a task that is made now. */
async function taskDone(transport: Transport, operatorToken: string): Promise<void> {
  const tasks = createClient(TaskService, transport);
  const asOperator = bearer(operatorToken);
  const { task } = await tasks.createTask({ kind: "echo" }, asOperator);
  await waitFor(
    async () =>
      (await tasks.getTask({ task: task?.id ?? "" }, asOperator)).task?.state === TaskState.SUCCEEDED,
  );
}

const enrollmentToken = async (transport: Transport, operatorToken: string, maxUses = 1) =>
  (
    await createClient(TokenService, transport).createToken(
      { role: TokenRole.ENROLLMENT, maxUses },
      bearer(operatorToken),
    )
  ).secret;

test("an expired certificate is told at the start, and is not the end of it", async () => {
  const lines: string[] = [];
  const told = async (notAfter: Date) => {
    const own = await createTlsFolder(await authority.issue({ notAfter }), authority.ca);
    const config = readConfig({ DROVER_TLS_CERT: own.cert, DROVER_TLS_KEY: own.key }, {});
    const destination = { write: (line: string) => void lines.push(line) };
    openTls(config, createLogger({ level: "info", scrub: scrubJson, destination }));
    await own.remove();
    return lines.splice(0).join("");
  };
  expect(await told(new Date(Date.now() + 60_000))).toBe("");
  expect(await told(new Date(Date.now() - 60_000))).toContain("the TLS certificate has expired");
});

describe("files that change while the server runs", () => {
  /** The root by which both ports show themselves. */
  async function shownBy(root: Authority): Promise<boolean[]> {
    const addresses = [webAddress(), server.grpcAddress];
    const shaken = addresses.map((address) => shakeHands(address, { ca: root.ca, ALPNProtocols: ["h2"] }));
    return (await Promise.all(shaken)).map((result) => typeof result === "object");
  }

  test("a new certificate is shown without a restart; one that is no good is refused and the old one kept", async () => {
    const transport = WAYS["gRPC to the native port"](server, { ca: authority.ca });
    const enrollment = await enrollmentToken(transport, server.operatorToken);
    const agent = await startAgent(server, enrollment, { tls: { ca: authority.ca }, name: "tls-2" });
    const next = await createAuthority("next root");
    const open = createClient(FleetService, transport);
    await open.listAgents({}, bearer(server.operatorToken));
    const good = await next.issue();
    await folder.replace(good);
    await waitFor(async () => (await shownBy(next)).every(Boolean));
    expect(await shownBy(authority)).toEqual([false, false]);
    // A connection that was there before goes on.
    await open.listAgents({}, bearer(server.operatorToken));
    await taskDone(transport, server.operatorToken);
    await folder.replace({ cert: good.cert, key: (await next.issue()).key });
    await waitFor(() => server.output().includes("new TLS files are no good"));
    expect(await shownBy(next)).toEqual([true, true]);
    await writeFile(folder.key, "nonsense");
    await folder.replace(await authority.issue());
    await waitFor(async () => (await shownBy(authority)).every(Boolean));
    await taskDone(transport, server.operatorToken);
    expect(agent.states).toEqual(["connecting", "live"]);
    await agent.client.leave();
    expect(server.output()).toContain("the TLS certificate was renewed");
    expect(server.output()).not.toContain("PRIVATE KEY");
  });
});

describe("with a root for clients' certificates", () => {
  let mutual: TestControlPlane;
  let clients: Authority;
  let anybody: Identity;
  const agents: Record<string, string> = {};
  let enrollment: string;

  beforeAll(async () => {
    clients = await createAuthority("clients");
    const clientCa = join(folder.folder, "clients.pem");
    await writeFile(clientCa, clients.ca);
    mutual = await startControlPlane({
      settings: {
        DROVER_TLS_CERT: folder.cert,
        DROVER_TLS_KEY: folder.key,
        DROVER_TLS_CLIENT_CA: clientCa,
      },
    });
    anybody = await clients.issue({ names: [] });
    const transport = WAYS["Connect over HTTP/2"](mutual, { ca: authority.ca, ...anybody });
    enrollment = await enrollmentToken(transport, mutual.operatorToken, 3);
    for (const name of ["gpu-1", "gpu-2"]) {
      const enrolled = await createClient(AgentService, transport).enroll({ name }, bearer(enrollment));
      agents[name] = enrolled.secret;
    }
  });
  afterAll(() => mutual.stop());

  test("an agent of the SDK works with its own certificate, and with none or another's it does not", async () => {
    const named = (value: string) => clients.issue({ names: [{ type: "dns", value }] });
    const tls = { ca: authority.ca, ...(await named("gpu-3")) };
    const { client, states } = await startAgent(mutual, enrollment, { tls, name: "gpu-3" });
    await taskDone(
      WAYS["Connect over HTTP/2"](mutual, { ca: authority.ca, ...anybody }),
      mutual.operatorToken,
    );
    expect(states).toEqual(["connecting", "live"]);
    await client.leave();
    const outcomeOf = async (shown: ClientTls) => {
      const { promise: waits, resolve } = Promise.withResolvers<string>();
      const other = new AgentClient({
        url: `https://${mutual.grpcAddress}`,
        tls: shown,
        credentials: memoryCredentialStore(agents["gpu-1"] ?? ""),
        onEvent: (event) => {
          if (event.kind === "state" && event.state.kind === "waiting") resolve(event.state.because.message);
        },
      });
      const started = other.start().then(
        () => "live",
        ({ message }: Error) => message,
      );
      const outcome = await Promise.race([started, waits]);
      await other.close();
      return outcome;
    };
    // Whether the server's alert arrives before its end is a matter of luck.
    expect(await outcomeOf({ ca: authority.ca })).not.toBe("live");
    const stranger = await (await createAuthority("stranger")).issue({ names: [] });
    expect(await outcomeOf({ ca: authority.ca, ...stranger })).not.toBe("live");
    expect(await outcomeOf({ ca: clients.ca, ...anybody })).toContain("nobody whom this agent trusts");
    expect(await outcomeOf({ ca: authority.ca, ...(await named("gpu-2")) })).toContain(
      "certificate is that of gpu-2",
    );
  });

  describe.each(Object.entries(WAYS))("%s", (_, open) => {
    test("no certificate, or one of another root, is no connection", async () => {
      const stranger = await (await createAuthority("stranger")).issue({ names: [] });
      for (const shown of [{}, stranger]) {
        const call = fleetOf(open(mutual, { ca: authority.ca, ...shown }), mutual.operatorToken);
        await expect(call).rejects.toThrow();
      }
    });

    test("a certificate is no token, and a token no certificate", async () => {
      const transport = open(mutual, { ca: authority.ca, ...anybody });
      await fleetOf(transport, mutual.operatorToken);
      const without = createClient(FleetService, transport).listAgents({});
      await expect(without).rejects.toMatchObject({ code: Code.Unauthenticated });
    });

    test("an agent's certificate carries its own token and no other's", async () => {
      const beat = async (name: "gpu-1" | "gpu-2", value: string, type: "dns" | "url") => {
        const shown = await clients.issue({ names: [{ type, value }] });
        const agent = createClient(AgentService, open(mutual, { ca: authority.ca, ...shown }));
        const request = create(HeartbeatRequestSchema, { status: AgentStatus.ONLINE });
        try {
          return (await agent.heartbeat(request, bearer(agents[name] ?? ""))).acknowledged;
        } catch (error) {
          return ConnectError.from(error).code;
        }
      };
      expect(await beat("gpu-1", "gpu-1", "dns")).toBe(true);
      expect(await beat("gpu-1", "spiffe://fleet.example/agent/gpu-1", "url")).toBe(true);
      // Names no agent at all.
      expect(await beat("gpu-1", "rack-7.example", "dns")).toBe(true);
      expect(await beat("gpu-2", "gpu-1", "dns")).toBe(Code.PermissionDenied);
      expect(await beat("gpu-2", "spiffe://fleet.example/ns/gpu-1", "url")).toBe(Code.PermissionDenied);
      // Says of itself that it is an agent's, though nobody has enrolled that one.
      expect(await beat("gpu-2", "spiffe://fleet.example/agent/gpu-9", "url")).toBe(Code.PermissionDenied);
    });
  });
});
