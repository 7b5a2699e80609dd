import { Argument, type Command, Option } from "commander";
import { newRequestId } from "../api.ts";
import { agentPath, repeatedOf } from "../arguments.ts";
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
import { agree, requireTerminal } from "../confirm.ts";
import { listPages } from "../list-pages.ts";
import { note, printJson, printLine, printPairs } from "../output.ts";
import type { AgentJson, CommandJson } from "../resources.ts";
import type { Column } from "../table.ts";
import { addAgentCordon, cordonText } from "./agent-cordon.ts";
import { type AgentFilterFlags, agentFilterOf, withAgentFilter } from "./agent-filter.ts";
import { addAgentSessions } from "./agent-sessions.ts";

const cordons = ["none", "draining", "cordoned"];
const commandKinds = ["reportFullState", "rotateToken", "shutDown", "echo"];
const orders = ["name", "created_at", "last_heartbeat_at"].flatMap((field) => [field, `${field} desc`]);

export function addAgents(program: Command): void {
  const group = commandGroup(program, "agents", "see and look after the project's agents");
  const list = group
    .command("list", { isDefault: true })
    .description("list agents (this is what `drover agents` does)");
  withAgentFilter(list)
    .option(
      "--cordon <cordon>",
      `only with this cordon; may be repeated: ${cordons.join(", ")}`,
      repeatedOf(cordons),
    )
    .addOption(new Option("--order-by <order>", "the order").choices(orders));
  withClientFlags(withListFlags(list)).action(listAgents);
  withClientFlags(group.command("get").description("show one agent").argument("<name>")).action(getAgent);
  addAgentSessions(group);
  withClientFlags(
    group.command("reset").description("take an agent from error to online").argument("<name>"),
  ).action(resetAgent);
  addAgentCordon(group);
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

interface ListAgentsFlags extends ClientFlags, ListFlags, AgentFilterFlags {
  cordon?: string[];
  orderBy?: string;
}

async function listAgents(flags: ListAgentsFlags): Promise<void> {
  const query = { ...agentFilterOf(flags), cordon: flags.cordon, orderBy: flags.orderBy };
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

/** Such as "live", or "live, deaf, flapping". */
function livenessText({ liveness, deaf, mute, flapping }: AgentJson): string {
  const signs = Object.entries({ deaf, mute, flapping }).flatMap(([sign, shows]) => (shows ? [sign] : []));
  return [orDash(liveness), ...signs].join(", ");
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
  if (flags.yes !== true) {
    requireTerminal("Removing is for good");
    await agree(
      `Remove ${name} from ${api.connection.url} for good, and revoke its tokens?`,
      "Nothing was removed.",
    );
  }
  const { text } = await api.delete<object>(path, { requestId: newRequestId() });
  if (flags.json === true) printJson(text);
  else printLine(`${name} is removed.`);
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
  const count = recentErrors?.count ?? 0;
  return count === 0 ? "0" : `${count} (${orDash(recentErrors?.worstSeverity)})`;
}

function currentTaskText({ currentTask }: AgentJson): string {
  if (currentTask == null) return orDash(undefined);
  const { taskId, progress, detail } = currentTask;
  return [orDash(taskId), `${Math.floor((progress ?? 0) * 100)} %`, detail ?? ""].join(" ").trim();
}
