import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  watch,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { toJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { machineName } from "../../src/cli/agent-run/agent-identity.ts";
import { type FakeSessionServer, taskId } from "../agent-sdk/fake-session-server.ts";
import { fakeServer } from "../agent-sdk/with-agent.ts";
import { runDrover, startDrover } from "../helpers/run-drover.ts";

let folder: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "drover-agent-"));
  writeFileSync(join(folder, "agent.token"), "drv_agt_a\n", { mode: 0o600 });
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGCONT");
    child.kill("SIGKILL");
    await once(child, "exit");
  }
  rmSync(folder, { recursive: true });
});

/** Starts `drover agent run` for tasks of the kind `work`. */
async function run(server: FakeSessionServer, command: string, ...flags: string[]): Promise<ChildProcess> {
  const args = [
    "agent",
    "run",
    "--on",
    `work=${command}`,
    "--state-dir",
    folder,
    "--grpc-url",
    server.url,
    ...flags,
  ];
  const child = startDrover(args, { env: { DROVER_TOKEN: "drv_opr_secret" }, cwd: folder });
  children.push(child);
  child.stdout?.resume();
  child.stderr?.resume();
  await server.hears("ready");
  return child;
}

/** Hears how one task ended that a command was run for. */
async function outcomeOf(
  command: string,
  payload: Parameters<FakeSessionServer["assign"]>[0]["payload"] = null,
) {
  const server = await fakeServer();
  await run(server, command);
  server.assign({ id: taskId(1), payload, attempt: 2 });
  await server.until(() => server.all("taskComplete").length + server.all("taskFail").length > 0);
  const [complete] = server.all("taskComplete");
  const result = complete?.result === undefined ? undefined : toJson(ValueSchema, complete.result);
  return { server, result, failure: server.all("taskFail")[0] };
}

/** Resolves once a file exists and holds something; gives its text. */
async function written(path: string): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const look = () => existsSync(path) && readFileSync(path, "utf8") !== "" && resolve();
  const watcher = watch(folder, look);
  look();
  await promise;
  watcher.close();
  return readFileSync(path, "utf8");
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    // What has ended but was not collected yet by its parent, which is init's business, counts as gone.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
};

describe("a command", () => {
  it("gets the payload on standard input, and its task in the environment, but no operator's token", async () => {
    const command =
      'echo "{\\"in\\":$(cat),\\"id\\":\\"$DROVER_TASK_ID\\",\\"attempt\\":$DROVER_ATTEMPT,\\"token\\":\\"$DROVER_TOKEN\\"}"';
    const { result } = await outcomeOf(command, { file: "a b" });
    expect(result).toEqual({ in: { file: "a b" }, id: taskId(1), attempt: 2, token: "" });
  });

  it.each([
    ["JSON where it parses", "printf '[1, 2.5, null]'", [1, 2.5, null]],
    ["text otherwise", "echo hello; echo there", "hello\nthere\n"],
    ["nothing as an empty text", "true", ""],
    ["what is left behind in its group is ended, and does not hold the result", "sleep 1000 & echo 1", 1],
    ["its own reading of standard input is its own business", "exec <&-; echo 2", 2],
  ])("results in %s", async (_name, command, result) => {
    expect((await outcomeOf(command)).result).toEqual(result);
  });

  it("results in the last 64 KiB, cut between characters", async () => {
    const program = "process.stdout.write('1'.repeat(50000) + 'ä'.repeat(40000) + 'b')";
    const { result } = await outcomeOf(`"${process.execPath}" -e "${program}"`);
    // 64 KiB less the last letter hold half a character at their beginning.
    expect(result).toBe(`${"ä".repeat(32_767)}b`);
  });

  it("that fails is a failure that may be retried, with the end of its standard error", async () => {
    const { failure } = await outcomeOf("echo out; echo ::progress 0.5 >&2; echo why it failed >&2; exit 3");
    expect(failure).toMatchObject({ retryable: true, error: { context: { exitCode: 3 } } });
    expect(failure?.error?.message).toBe("The command ended with exit code 3: why it failed");
  });

  it("that a signal ends is a failure", async () => {
    const { failure } = await outcomeOf("kill -KILL $$");
    expect(failure?.error?.message).toBe("The command was ended by SIGKILL.");
  });

  it("tells its progress by lines of standard error", async () => {
    const go = join(folder, "go");
    const server = await fakeServer();
    await run(server, `echo '::progress 0.4 some words' >&2; while [ ! -e ${go} ]; do sleep 0.05; done`);
    server.assign({ id: taskId(1) });
    const { said } = await server.hears("taskUpdate", ({ progress }) => progress !== undefined);
    expect(said).toMatchObject({ progress: 0.4, detail: "some words" });
    await server.hears("heartbeat", ({ currentTask }) => currentTask?.progress === 0.4);
    writeFileSync(go, "");
    await server.hears("taskComplete");
  });
});

describe("cancel", () => {
  it("is SIGTERM to the whole group, and nothing is said of the task", async () => {
    const server = await fakeServer();
    await run(server, "trap 'echo told > told; exit 0' TERM; sleep 1000 & echo $! > child; wait");
    server.assign({ id: taskId(1) });
    const child = Number(await written(join(folder, "child")));
    server.stream.say({ case: "command", value: { sequence: 1n, kind: "cancelTask", taskId: taskId(1) } });
    expect(await written(join(folder, "told"))).toBe("told\n");
    const { index } = await server.hears("commandAcknowledgement");
    await server.hears("ready", ({ slots }) => slots === 1, index);
    expect(isAlive(child)).toBe(false);
    expect(server.all("taskComplete").length + server.all("taskFail").length).toBe(0);
  });

  it("is SIGKILL after ten seconds, for those who do not listen", { timeout: 40_000 }, async () => {
    const server = await fakeServer();
    await run(
      server,
      "(trap '' TERM; echo up > child; while true; do sleep 1; done) & trap '' TERM; echo $! > pid; wait; wait",
    );
    server.assign({ id: taskId(1) });
    await written(join(folder, "child"));
    const child = Number(await written(join(folder, "pid")));
    const { index } = await server.hears("ready");
    const begunAtMs = performance.now();
    server.stream.say({ case: "command", value: { sequence: 1n, kind: "cancelTask", taskId: taskId(1) } });
    await server.hears("ready", ({ slots }) => slots === 1, index + 1);
    expect(performance.now() - begunAtMs).toBeGreaterThan(9_900);
    expect(isAlive(child)).toBe(false);
  });
});

describe("leases", () => {
  it("a command is ended before its lease is, when the server is silent", async () => {
    const server = await fakeServer();
    server.leaseMs = 3000;
    await run(server, "trap '' TERM; echo $$ > pid; while true; do sleep 1; done");
    server.answers.heartbeat = () => "silence";
    server.assign({ id: taskId(1) });
    const accepted = await server.hears("taskUpdate");
    const pid = Number(await written(join(folder, "pid")));
    while (isAlive(pid)) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(performance.now() - accepted.heard.atMs).toBeLessThan(3000 + 300);
  });

  it("an agent that was frozen past its lease stops the work, and a result that was there is refused", async () => {
    const server = await fakeServer();
    server.leaseMs = 1500;
    server.answers.taskComplete = () => ({
      refusal: { code: Code.FailedPrecondition, reason: "LEASE_LOST", message: "The lease has ended." },
    });
    const go = join(folder, "go");
    // One task works for ever, the other ends while the agent is frozen.
    const command = `case $(cat) in 1) echo $$ > pid; sleep 1000 ;; *) echo up > up; while [ ! -e ${go} ]; do sleep 0.05; done; echo 7 ;; esac`;
    const child = await run(server, command, "--slots", "2", "--json");
    if (child.stdout === null) throw new Error("the child has no pipe");
    const events: { kind: string; task?: { id: string }; why?: object; reason?: string }[] = [];
    createInterface({ input: child.stdout }).on("line", (line) => events.push(JSON.parse(line)));
    server.assign({ id: taskId(1), payload: 1 });
    server.assign({ id: taskId(2), payload: 2 });
    const pid = Number(await written(join(folder, "pid")));
    await written(join(folder, "up"));
    child.kill("SIGSTOP");
    writeFileSync(go, "");
    // What passes here is the lease, on the clock of the agent.
    await new Promise((resolve) => setTimeout(resolve, 1800));
    child.kill("SIGCONT");
    const happened = (kind: string, id: string) =>
      events.find((event) => event.kind === kind && event.task?.id === id);
    while (
      happened("taskDropped", taskId(1)) === undefined ||
      happened("taskRefused", taskId(2)) === undefined
    )
      await once(child.stdout, "data");
    expect(happened("taskStopping", taskId(1))).toMatchObject({ why: { reason: "lease-lost" } });
    expect(isAlive(pid)).toBe(false);
    expect(happened("taskRefused", taskId(2))).toMatchObject({ reason: "LEASE_LOST" });
    expect(server.all("taskComplete").map(({ task }) => task)).toEqual([taskId(2)]);
  });

  it("the commands of an agent that was killed are ended by its guard", async () => {
    const server = await fakeServer();
    const child = await run(server, "sleep 1000 & echo $! > child; echo $$ > pid; wait");
    server.assign({ id: taskId(1) });
    const pids = [await written(join(folder, "pid")), await written(join(folder, "child"))].map(Number);
    child.kill("SIGKILL");
    // Ends by the test's own limit where nobody ends them; a process that is no child of this one tells nobody.
    while (pids.some(isAlive)) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(pids.map(isAlive)).toEqual([false, false]);
  });
});

describe("signals", () => {
  it("the first lets the work end and says goodbye", async () => {
    const server = await fakeServer();
    const go = join(folder, "go");
    const child = await run(server, `echo up > up; while [ ! -e ${go} ]; do sleep 0.05; done; echo 1`);
    server.assign({ id: taskId(1) });
    await written(join(folder, "up"));
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    writeFileSync(go, "");
    expect(await exited).toEqual([0, null]);
    expect(server.all("taskComplete")).toHaveLength(1);
    expect(server.heard.at(-1)?.request.message.case).toBe("goodbye");
  });

  it("the server's word to shut down is as good as the first", async () => {
    const server = await fakeServer();
    const go = join(folder, "go");
    const child = await run(server, `echo up > up; while [ ! -e ${go} ]; do sleep 0.05; done; echo 1`);
    server.assign({ id: taskId(1) });
    await written(join(folder, "up"));
    const exited = once(child, "exit");
    server.stream.say({ case: "command", value: { sequence: 1n, kind: "shutDown", reason: "upgrade" } });
    await server.hears("commandAcknowledgement");
    writeFileSync(go, "");
    expect(await exited).toEqual([0, null]);
    expect(server.all("taskComplete")).toHaveLength(1);
    expect(server.heard.at(-1)?.request.message.case).toBe("goodbye");
  });

  it("the second stops the work, which goes back without a word of failure", async () => {
    const server = await fakeServer();
    const child = await run(server, "echo $$ > pid; sleep 1000");
    if (child.stderr === null) throw new Error("the child has no pipe");
    server.assign({ id: taskId(1) });
    const pid = Number(await written(join(folder, "pid")));
    const exited = once(child, "exit");
    child.kill("SIGINT");
    for await (const line of createInterface({ input: child.stderr })) if (line.includes("Once more")) break;
    child.kill("SIGINT");
    expect(await exited).toEqual([0, null]);
    expect(isAlive(pid)).toBe(false);
    expect(server.all("taskFail")).toEqual([]);
    expect(server.all("goodbye")).toHaveLength(1);
  });
});

describe("its first run", () => {
  it("enrolls it by name, and keeps its token for it alone", async () => {
    const server = await fakeServer();
    const env = { XDG_CONFIG_HOME: folder, DROVER_TOKEN: "drv_enr_x" };
    const args = [
      "agent",
      "run",
      "--on",
      "work=true",
      "--name",
      "gpu-1",
      "--grpc-url",
      server.url.replace("http://", ""),
    ];
    const child = startDrover(args, { env });
    children.push(child);
    await server.hears("ready");
    expect(server.stream.token).toBe("drv_agt_enrolled");
    expect(server.enrollments).toEqual([{ name: "gpu-1", nonce: expect.any(String), token: "drv_enr_x" }]);
    const state = join(folder, "drover", "agents", "gpu-1");
    expect(readdirSync(state)).toEqual(["agent.token"]);
    expect(readFileSync(join(state, "agent.token"), "utf8")).toBe("drv_agt_enrolled\n");
    expect(statSync(join(state, "agent.token")).mode & 0o777).toBe(0o600);
  });

  it("without a token says what is missing, and sends no operator's token", async () => {
    const server = await fakeServer();
    const env = { XDG_CONFIG_HOME: folder, DROVER_TOKEN: "drv_opr_x" };
    const ran = await runDrover(
      ["agent", "run", "--on", "work=true", "--name", "gpu-1", "--grpc-url", server.url],
      { env },
    );
    expect(ran.code).toBe(3);
    expect(ran.stderr).toContain("an agent needs an enrollment token");
    expect(server.enrollments).toEqual([]);
  });

  it("with a token of its own needs no enrollment, and keeps that token", async () => {
    const server = await fakeServer();
    server.tokens = new Set(["drv_agt_id7_secret_check"]);
    const args = ["agent", "run", "--on", "work=true", "--url", server.url];
    children.push(
      startDrover([...args, "--token", "drv_agt_id7_secret_check"], { env: { XDG_CONFIG_HOME: folder } }),
    );
    await server.hears("ready");
    expect(server.enrollments).toEqual([]);
    const kept = join(folder, "drover", "agents", "id7", "agent.token");
    expect(readFileSync(kept, "utf8")).toBe("drv_agt_id7_secret_check\n");
  });

  it.each([
    ["gpu-1.example.com", "gpu-1.example.com"],
    ["_my host!", "my-host-"],
    ["…", "agent"],
    ["a".repeat(200), "a".repeat(128)],
  ])("names the agent of the machine %j %j", (host, name) => expect(machineName(host)).toBe(name));

  it("that nobody answered asks for the same agent again, by the machine's name where it was given none", async () => {
    const state = join(folder, "new");
    const args = ["agent", "run", "--on", "work=true", "--state-dir", state];
    const env = { DROVER_TOKEN: "drv_enr_x" };
    const ran = await runDrover(args, { env: { ...env, DROVER_URL: "127.0.0.1:1" } });
    expect(ran.code).toBe(6);
    const nonce = readFileSync(join(state, "enrollment.nonce"), "utf8").trim();
    const server = await fakeServer();
    children.push(startDrover(args, { env: { ...env, DROVER_URL: server.url } }));
    await server.hears("ready");
    expect(server.enrollments).toEqual([{ name: machineName(hostname()), nonce, token: "drv_enr_x" }]);
    expect(existsSync(join(state, "enrollment.nonce"))).toBe(false);
  });
});

it("a token that is not accepted ends it with 3, and says where it came from", async () => {
  const server = await fakeServer();
  server.tokens = new Set();
  const args = ["agent", "run", "--on", "work=true", "--state-dir", folder, "--grpc-url", server.url];
  const ran = await runDrover(args);
  expect(ran.code).toBe(3);
  expect(ran.stderr).toContain(join(folder, "agent.token"));
});

it.each([
  [["--on", "work"], "KIND=COMMAND"],
  [["--on", "work=a", "--on", "work=b"], "given twice"],
  [["--on", "work=a", "--slots", "0", "--name", "x"], "from 1 to 100"],
  [["--on", "work=a", "--name", "../x"], "name"],
  [["--on", "work=a", "--name", "x", "--grpc-url", "ftp://x"], "--grpc-url"],
  [["--on", "work=a", "--name", "x", "--url", "ftp://x"], "--url"],
])("wrong usage %j ends with 2", async (flags, words) => {
  const ran = await runDrover(["agent", "run", ...flags]);
  expect(ran).toMatchObject({ code: 2, stdout: "" });
  expect(ran.stderr).toContain(words);
});

it("events are lines of JSON", async () => {
  const server = await fakeServer();
  const child = await run(server, "echo 1", "--json");
  if (child.stdout === null) throw new Error("the child has no pipe");
  const stdout = text(child.stdout);
  server.assign({ id: taskId(1) });
  const { index } = await server.hears("taskComplete");
  await server.hears("ready", ({ slots }) => slots === 1, index);
  child.kill("SIGTERM");
  const kinds = (await stdout)
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).kind);
  expect(kinds).toEqual(expect.arrayContaining(["state", "taskBegan", "taskEnded"]));
});
