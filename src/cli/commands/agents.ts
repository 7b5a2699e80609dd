import { Argument, type Command, Option } from "commander";
import { newRequestId } from "../api.ts";
import { agentPath, repeatedLabel, repeatedOf } from "../arguments.ts";
import { instantText, orDash, pairsText, toneOf } from "../cell-text.ts";
import {
  apiFor,
  type ClientFlags,
  type ListFlags,
  limitOf,
  printListing,
  withClientFlags,
  withListFlags,
} from "../client-command.ts";
import { commandGroup } from "../command-group.ts";
import { confirm } from "../confirm.ts";
import { Failure, usageFailure } from "../failure.ts";
import { listPages } from "../list-pages.ts";
import { note, printJson, printLine, printPairs } from "../output.ts";
import type { AgentJson, CommandJson } from "../resources.ts";
import type { Column } from "../table.ts";
import { parseDurationMs, protoDuration } from "../time-arguments.ts";
import { addAgentSessions } from "./agent-sessions.ts";

const statuses = ["pending", "online", "busy", "benchmarked", "error"];
const livenesses = ["never", "live", "stale", "offline"];
const cordons = ["none", "draining", "cordoned"];
const commandKinds = ["reportFullState", "rotateToken", "shutDown", "echo"];
const orders = ["name", "created_at", "last_heartbeat_at"].flatMap((field) => [field, `${field} desc`]);

export function addAgents(program: Command): void {
  const group = commandGroup(program, "agents", "see and look after the project's agents");
  const list = group
    .command("list", { isDefault: true })
    .description("list agents (this is what `drover agents` does)")
    .option(
      "--status <status>",
      `only with this status; may be repeated: ${statuses.join(", ")}`,
      repeatedOf(statuses),
    )
    .option(
      "--liveness <liveness>",
      `only with this liveness; may be repeated: ${livenesses.join(", ")}`,
      repeatedOf(livenesses),
    )
    .option(
      "--cordon <cordon>",
      `only with this cordon; may be repeated: ${cordons.join(", ")}`,
      repeatedOf(cordons),
    )
    .option("--label <key=value>", "only with this label; may be repeated", repeatedLabel)
    .option("--name-prefix <prefix>", "only agents whose name begins so")
    .addOption(new Option("--order-by <order>", "the order").choices(orders));
  withClientFlags(withListFlags(list)).action(listAgents);
  withClientFlags(group.command("get").description("show one agent").argument("<name>")).action(getAgent);
  addAgentSessions(group);
  withClientFlags(
    group.command("reset").description("take an agent from error to online").argument("<name>"),
  ).action(resetAgent);
  withClientFlags(
    group
      .command("cordon")
      .description("give an agent no more tasks; it goes on with what it holds")
      .argument("<name>")
      .option("--reason <words>", "why"),
  ).action((name: string, flags: ReasonFlags) => orderCordon(name, "cordon", flags));
  withClientFlags(
    group
      .command("uncordon")
      .description("let an agent get tasks again")
      .argument("<name>")
      .option("--reason <words>", "why"),
  ).action((name: string, flags: ReasonFlags) => orderCordon(name, "uncordon", flags));
  withClientFlags(
    group
      .command("drain")
      .description("let an agent finish what it holds, and give it nothing new")
      .argument("<name>")
      .addOption(
        new Option(
          "--deadline <duration>",
          "after this what it still holds goes back; as long as it takes when left out",
        ).argParser(parseDurationMs),
      )
      .option("--reason <words>", "why"),
  ).action((name: string, flags: ReasonFlags & { deadline?: number }) => orderCordon(name, "drain", flags));
  withClientFlags(
    group
      .command("command")
      .description("tell an agent to do something, and print the command's sequence")
      .argument("<name>")
      .addArgument(new Argument("<kind>", "what it is to do").choices(commandKinds))
      .option("--reason <words>", "why; the agent is told"),
  ).action(sendCommand);
  withClientFlags(
    group
      .command("remove")
      .description("remove an agent for good and revoke its tokens")
      .argument("<name>")
      .option("--yes", "do not ask"),
  ).action(removeAgent);
}

interface ListAgentsFlags extends ClientFlags, ListFlags {
  status?: string[];
  liveness?: string[];
  cordon?: string[];
  label?: Record<string, string>;
  namePrefix?: string;
  orderBy?: string;
}

async function listAgents(flags: ListAgentsFlags): Promise<void> {
  const query = {
    status: flags.status,
    liveness: flags.liveness,
    cordon: flags.cordon,
    labels: Object.entries(flags.label ?? {}).map(([key, value]) => `${key}=${value}`),
    namePrefix: flags.namePrefix,
    orderBy: flags.orderBy,
  };
  const listing = await listPages<AgentJson>(
    apiFor(flags),
    "/api/v1/agents",
    "agents",
    query,
    limitOf(flags),
  );
  printListing(flags, listing, columns, "agents");
}

const columns: readonly Column<AgentJson>[] = [
  { heading: "NAME", text: ({ name }) => orDash(name) },
  { heading: "STATUS", text: ({ status }) => orDash(status), tone: ({ status }) => toneOf(status) },
  { heading: "LIVENESS", text: livenessText, tone: ({ liveness }) => toneOf(liveness) },
  { heading: "CORDON", text: ({ cordon }) => orDash(cordon), tone: ({ cordon }) => toneOf(cordon) },
  { heading: "LAST HEARTBEAT", text: ({ lastHeartbeatAt }) => instantText(lastHeartbeatAt) },
  {
    heading: "ERRORS 24H",
    text: recentErrorsText,
    tone: ({ recentErrors }) => toneOf(recentErrors?.worstSeverity),
  },
  { heading: "TASK", text: currentTaskText },
  { heading: "LABELS", text: ({ labels }) => pairsText(labels) },
];

async function getAgent(name: string, flags: ClientFlags): Promise<void> {
  const { text, value } = await apiFor(flags).get<AgentJson>(agentPath(name));
  if (flags.json === true) printJson(text);
  else printPairs(describe(value));
}

async function resetAgent(name: string, flags: ClientFlags): Promise<void> {
  const path = `${agentPath(name)}:reset`;
  const { text, value } = await apiFor(flags).post<AgentJson>(path, { requestId: newRequestId() });
  if (flags.json === true) printJson(text);
  else printLine(`${value.name ?? name} is ${orDash(value.status)}.`);
}

type ReasonFlags = ClientFlags & { reason?: string };

async function orderCordon(
  name: string,
  verb: "cordon" | "uncordon" | "drain",
  flags: ReasonFlags & { deadline?: number },
): Promise<void> {
  const { reason, deadline } = flags;
  const body = {
    reason,
    deadline: deadline === undefined ? undefined : protoDuration(deadline),
    requestId: newRequestId(),
  };
  const { text, value } = await apiFor(flags).post<AgentJson>(`${agentPath(name)}:${verb}`, body);
  if (flags.json === true) printJson(text);
  else printLine(`${value.name ?? name}: ${cordonText(value)}.`);
}

/** Such as "live", or "live, deaf, flapping". */
function livenessText({ liveness, deaf, mute, flapping }: AgentJson): string {
  const signs = Object.entries({ deaf, mute, flapping }).flatMap(([sign, shows]) => (shows ? [sign] : []));
  return [orDash(liveness), ...signs].join(", ");
}

function cordonText({ cordon, cordonReason, drainDeadline }: AgentJson): string {
  const until = drainDeadline == null ? "" : ` until ${instantText(drainDeadline)}`;
  return [`${orDash(cordon)}${until}`, ...(cordonReason ? [cordonReason] : [])].join(", ");
}

async function sendCommand(name: string, kind: string, flags: ReasonFlags): Promise<void> {
  const path = `${agentPath(name)}/commands`;
  const body = { kind, reason: flags.reason, requestId: newRequestId() };
  const { text, value } = await apiFor(flags).post<CommandJson>(path, body);
  if (flags.json === true) {
    printJson(text);
    return;
  }
  note(`${name} is told to ${kind}, until it acknowledges this sequence:`);
  printLine(orDash(value.sequence));
}

async function removeAgent(name: string, flags: ClientFlags & { yes?: true }): Promise<void> {
  const path = agentPath(name);
  const api = apiFor(flags);
  if (flags.yes !== true)
    await agree(`Remove ${name} from ${api.connection.url} for good, and revoke its tokens?`);
  const { text } = await api.delete<object>(path, { requestId: newRequestId() });
  if (flags.json === true) printJson(text);
  else printLine(`${name} is removed.`);
}

async function agree(question: string): Promise<void> {
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw usageFailure("Removing is for good and there is no terminal to ask at: say --yes.");
  if (await confirm(question, process.stdin, process.stderr)) return;
  throw new Failure("CANCELLED", "Nothing was removed.", { kind: "local" });
}

function describe(agent: AgentJson): [string, string][] {
  const { session } = agent;
  return [
    ["name", orDash(agent.name)],
    ["id", orDash(agent.id)],
    ["status", `${orDash(agent.status)}, since ${instantText(agent.statusChangedAt)}`],
    ["liveness", livenessText(agent)],
    ["cordon", cordonText(agent)],
    ["last heartbeat", instantText(agent.lastHeartbeatAt)],
    ["errors in 24 h", recentErrorsText(agent)],
    ["task", currentTaskText(agent)],
    ["labels", pairsText(agent.labels)],
    ["capabilities", orDash(agent.capabilities?.join(","))],
    ["gauges", pairsText(agent.gauges)],
    ["device", agent.deviceInfo === undefined ? orDash(undefined) : JSON.stringify(agent.deviceInfo)],
    [
      "session",
      session == null
        ? orDash(undefined)
        : `${orDash(session.bootId)}, epoch ${orDash(session.epoch)}, sequence ${orDash(session.sequence)}`,
    ],
    ["version", orDash(agent.version)],
    ["enrolled", instantText(agent.createdAt)],
  ];
}

function recentErrorsText({ recentErrors }: AgentJson): string {
  const count = recentErrors?.count ?? "0";
  return count === "0" ? "0" : `${count} (${orDash(recentErrors?.worstSeverity)})`;
}

function currentTaskText({ currentTask }: AgentJson): string {
  if (currentTask == null) return orDash(undefined);
  const { taskId, progress, detail } = currentTask;
  return [orDash(taskId), `${Math.floor((progress ?? 0) * 100)} %`, detail ?? ""].join(" ").trim();
}
