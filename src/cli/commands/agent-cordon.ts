import { type Command, Option } from "commander";
import { newRequestId } from "../api.ts";
import { agentPath } from "../arguments.ts";
import { instantText, orDash } from "../cell-text.ts";
import { changeByFilter, isByFilter } from "../change-by-filter.ts";
import { apiFor, type ClientFlags, withClientFlags } from "../client-command.ts";
import { printJson, printLine } from "../output.ts";
import type { AgentJson } from "../resources.ts";
import { parseDurationMs, protoDuration } from "../time-arguments.ts";
import { type AgentFilterFlags, agentFilterOf, withAgentFilter } from "./agent-filter.ts";

/** What can be ordered of an agent, and of all that a filter finds. */
interface CordonOrder {
  readonly verb: "cordon" | "uncordon" | "drain";
  readonly description: string;
  /** Which agents a filter is about: those that the order changes. */
  readonly cordons: readonly string[];
  readonly path: string;
  readonly question: string;
}

const orders: readonly CordonOrder[] = [
  {
    verb: "cordon",
    description: "give an agent, or all that a filter finds, no more tasks; they go on with what they hold",
    cordons: ["none", "draining"],
    path: "/api/v1/agents:batchCordon",
    question: "Cordon",
  },
  {
    verb: "uncordon",
    description: "let an agent, or all that a filter finds, get tasks again",
    cordons: ["draining", "cordoned"],
    path: "/api/v1/agents:batchUncordon",
    question: "Uncordon",
  },
  {
    verb: "drain",
    description: "let an agent, or all that a filter finds, finish what they hold, and give them nothing new",
    cordons: ["none"],
    path: "/api/v1/agents:batchDrain",
    question: "Drain",
  },
];

export function addAgentCordon(group: Command): void {
  for (const order of orders) {
    const command = withAgentFilter(
      group
        .command(order.verb)
        .description(order.description)
        .argument("[name]", "one agent; or a filter instead"),
    )
      .addOption(
        new Option("--all", "all there are").conflicts(["status", "liveness", "label", "namePrefix"]),
      )
      .option("--yes", "do not ask before a filter's agents are changed")
      .option("--reason <words>", "why");
    if (order.verb === "drain")
      command.addOption(
        new Option(
          "--deadline <duration>",
          "after this what they still hold goes back; as long as it takes when left out",
        ).argParser(parseDurationMs),
      );
    withClientFlags(command).action((name: string | undefined, flags: CordonFlags) =>
      orderCordon(order, name, flags),
    );
  }
}

interface CordonFlags extends ClientFlags, AgentFilterFlags {
  all?: true;
  yes?: true;
  reason?: string;
  deadline?: number;
}

async function orderCordon(order: CordonOrder, name: string | undefined, flags: CordonFlags): Promise<void> {
  const { status, liveness, label, namePrefix, all, reason } = flags;
  const deadline = flags.deadline === undefined ? undefined : protoDuration(flags.deadline);
  const byFilter = isByFilter(name, [status, liveness, label, namePrefix, all], "an agent's name");
  if (byFilter || name === undefined) {
    const filter = agentFilterOf(flags);
    await changeByFilter<AgentJson>(apiFor(flags), flags, {
      plural: "agents",
      singular: "agent",
      list: "/api/v1/agents",
      query: { ...filter, cordon: order.cordons },
      path: order.path,
      body: { ...filter, all, reason, deadline },
      verb: order.question,
      stateOf,
    });
    return;
  }
  const body = { reason, deadline, requestId: newRequestId() };
  const { text, value } = await apiFor(flags).post<AgentJson>(`${agentPath(name)}:${order.verb}`, body);
  if (flags.json === true) printJson(text);
  else printLine(`${value.name ?? name} is ${stateOf(value)}${tellMore(value)}.`);
}

function stateOf({ cordon }: AgentJson): string {
  return cordon === "none" ? "uncordoned" : orDash(cordon);
}

/** Such as "draining until 2030-01-31 08:00:00Z (the machine is upgraded)". */
export function cordonText(agent: AgentJson): string {
  return `${orDash(agent.cordon)}${tellMore(agent)}`;
}

function tellMore({ cordonReason, drainDeadline }: AgentJson): string {
  const until = drainDeadline == null ? "" : ` until ${instantText(drainDeadline)}`;
  return `${until}${cordonReason ? ` (${cordonReason})` : ""}`;
}
