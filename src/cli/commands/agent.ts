import { cpus, hostname, totalmem } from "node:os";
import { join } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import {
  AgentClient,
  AgentError,
  type AgentProfile,
  type TaskHandler,
} from "../../agent-sdk/agent-client.ts";
import { AgentDisplay } from "../agent-run/agent-display.ts";
import { failureOfAgent } from "../agent-run/agent-failure.ts";
import { firstTokenOf, identify, machineName, stateFolder } from "../agent-run/agent-identity.ts";
import { commandHandler, KILL_AFTER_MS } from "../agent-run/command-handler.ts";
import { GroupGuard } from "../agent-run/group-guard.ts";
import { leaveOnSignals } from "../agent-run/leave-on-signals.ts";
import { integerBetween, repeated, repeatedLabel } from "../arguments.ts";
import { surviveBrokenPipe } from "../broken-pipe.ts";
import { usageFailure } from "../failure.ts";
import { runningServer } from "../server-file.ts";
import { readTlsOptions, type TlsFlags } from "../tls-options.ts";

const DEFAULT_URL = "http://127.0.0.1:9090";

export function addAgent(program: Command): void {
  const group = program.command("agent").description("be an agent");
  group
    .command("run")
    .description("turn any command into an agent: claim tasks and run the command for each")
    .requiredOption(
      "--on <kind=command>",
      "claim tasks of this kind and run this command, by the shell; may be repeated",
      repeatedCommand,
    )
    .option("--name <name>", "the agent's name (default: this machine's)")
    .option("--state-dir <dir>", "its credentials (default: drover/agents/NAME in the user's configuration)")
    .option("--token <token>", "on its first run: what enrolls it, or an agent's own token (DROVER_TOKEN)")
    .addOption(new Option("--enrollment-token <token>", "the same").conflicts("token"))
    .option(
      "--grpc-url <url>",
      `the server's native gRPC port (DROVER_GRPC_URL; default ${DEFAULT_URL}); several with commas, or repeated`,
      repeated,
    )
    .addOption(
      new Option("--url <url>", "the port of all protocols instead (DROVER_URL); several likewise")
        .argParser(repeated)
        .conflicts("grpcUrl"),
    )
    .option("--ca <file>", "roots to trust for an https address, PEM (DROVER_CA)")
    .option("--client-cert <file>", "a certificate to show to the server, PEM (DROVER_CLIENT_CERT)")
    .option("--client-key <file>", "that certificate's key, PEM (DROVER_CLIENT_KEY)")
    .addOption(
      new Option("--slots <n>", "how many tasks at a time").argParser(integerBetween(1, 100)).default(1),
    )
    .option("--label <key=value>", "a label of the agent; may be repeated", repeatedLabel)
    .option("--capability <capability>", "something the agent can do; may be repeated", repeated)
    .option("--json", "print each event as a line of JSON; errors as JSON too")
    .action(runAgent);
}

interface RunFlags extends TlsFlags {
  on: ReadonlyMap<string, string>;
  name?: string;
  stateDir?: string;
  token?: string;
  enrollmentToken?: string;
  grpcUrl?: string[];
  url?: string[];
  slots: number;
  label?: Record<string, string>;
  capability?: string[];
  json?: true;
}

async function runAgent(flags: RunFlags): Promise<void> {
  surviveBrokenPipe();
  const server = {
    url: serverUrls(flags, process.env),
    tls: readTlsOptions(flags, process.env),
  };
  const profile: AgentProfile = {
    labels: flags.label,
    capabilities: flags.capability,
    deviceInfo: deviceInfo(),
  };
  const token = firstTokenOf(flags.token ?? flags.enrollmentToken, process.env.DROVER_TOKEN);
  const name = flags.name ?? machineName(hostname());
  const folder = stateFolder(flags.stateDir, flags.name ?? token?.folder ?? name, process.env);
  const credentials = await identify({ folder, name, token, server, profile });
  const display = new AgentDisplay(flags.json === true);
  const guard = new GroupGuard();
  const client = new AgentClient({
    ...server,
    ...profile,
    credentials,
    onEvent: (event) => display.show(event),
  });
  const offSignals = leaveOnSignals(client, (text) => display.line(text));
  guard.start();
  try {
    const ended = client.work(handlersOf(flags.on, guard, display), {
      slots: flags.slots,
      // Time for a command to end by SIGTERM before its lease does.
      stopAheadMs: KILL_AFTER_MS,
    });
    await client.start();
    const end = await ended;
    if (end.kind === "refused") throw new AgentError(end.refusal);
    if (end.kind === "closed")
      display.line("The server heard no goodbye; what was held returns when its lease ends.");
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    // Left before the server was ever reached, on its owner's word: nothing failed.
    if (error.status !== "CANCELLED") throw failureOfAgent(error, join(folder, "agent.token"));
  } finally {
    await client.idle();
    guard.stop();
    offSignals();
    display.end();
  }
}

function handlersOf(
  commands: ReadonlyMap<string, string>,
  guard: GroupGuard,
  display: AgentDisplay,
): Record<string, TaskHandler> {
  const onText = (taskId: string, line: string) => display.line(`…${taskId.slice(-8)} ${line}`);
  const entries = [...commands].map(([kind, command]) => [kind, commandHandler({ command, guard, onText })]);
  return Object.fromEntries(entries);
}

function repeatedCommand(
  text: string,
  before: ReadonlyMap<string, string> = new Map(),
): ReadonlyMap<string, string> {
  const at = text.indexOf("=");
  const [kind, command] = [text.slice(0, at), text.slice(at + 1)];
  if (at < 1 || command.trim() === "") throw new InvalidArgumentError("Give it as KIND=COMMAND.");
  if (before.has(kind)) throw new InvalidArgumentError(`The kind ${kind} is given twice.`);
  return new Map([...before, [kind, command]]);
}

/** The fast lane before the port of all protocols, and what a flag names before the environment. */
function serverUrls(flags: RunFlags, environment: NodeJS.ProcessEnv): string[] {
  const { DROVER_GRPC_URL, DROVER_URL } = environment;
  const inEnvironment = DROVER_GRPC_URL || DROVER_URL || runningServer(environment)?.grpc || DEFAULT_URL;
  const named = flags.grpcUrl ?? flags.url ?? [inEnvironment];
  const flag = flags.grpcUrl === undefined && flags.url !== undefined ? "--url" : "--grpc-url";
  return named.flatMap((text) => text.split(",")).map((text) => serverUrl(text.trim(), flag));
}

function serverUrl(text: string, flag: string): string {
  const given = text === "" ? DEFAULT_URL : text;
  // The server prints its address without a scheme.
  const spelled = given.includes("://") ? given : `http://${given}`;
  const url = URL.canParse(spelled) ? new URL(spelled) : undefined;
  if (
    url === undefined ||
    !["http:", "https:"].includes(url.protocol) ||
    url.username !== "" ||
    url.password !== ""
  )
    throw usageFailure(`${flag} must be an address such as 127.0.0.1:9090 or ${DEFAULT_URL}.`);
  return url.origin;
}

function deviceInfo() {
  const { platform, arch, version } = process;
  return { platform, arch, node: version, cpus: cpus().length, memoryBytes: totalmem() };
}
