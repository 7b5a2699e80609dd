import { type Agent, AgentStatus, Cordon, Liveness } from "../../../gen/drover/v1/agent_pb.js";
import { msOf } from "../format.ts";
import { cordonWords, livenessWords, statusWords, type Tone, type Word, wordOf } from "../words.ts";

/** An agent as lists show it: what is searched, sorted and coloured is worked out once, not at every look. */
export interface AgentRow {
  readonly agent: Agent;
  readonly name: string;
  readonly status: Word;
  readonly liveness: Word;
  /** The tone of the agent as a whole: one that is away is not what it last said. */
  readonly tone: Tone;
  /** Larger is worse; what needs somebody comes first. */
  readonly rank: number;
  readonly lastBeatMs: number | undefined;
  /** All that a search looks at, in lower case. */
  readonly text: string;
}

export function rowOf(agent: Agent): AgentRow {
  const status = wordOf(statusWords, agent.status);
  const liveness = wordOf(livenessWords, agent.liveness);
  const labels = Object.entries(agent.labels).map(([key, value]) => `${key}=${value}`);
  const words = [agent.name, status.label, liveness.label, ...labels, ...agent.capabilities];
  if (agent.cordon > Cordon.NONE) words.push(wordOf(cordonWords, agent.cordon).label);
  for (const oddity of ["deaf", "mute", "flapping"] as const) if (agent[oddity]) words.push(oddity);
  return {
    agent,
    name: agent.name,
    status,
    liveness,
    tone: toneOf(agent),
    rank: rankOf(agent),
    lastBeatMs: msOf(agent.lastHeartbeatAt),
    text: words.join("\n").toLowerCase(),
  };
}

/** It reaches the server, and something is the matter with how. */
const isOdd = ({ deaf, mute, flapping }: Agent): boolean => deaf || mute || flapping;

function toneOf(agent: Agent): Tone {
  const { status, liveness } = agent;
  if (status === AgentStatus.ERROR) return "bad";
  if (liveness === Liveness.OFFLINE) return "bad";
  if (liveness === Liveness.STALE || isOdd(agent)) return "warn";
  if (liveness === Liveness.NEVER) return "quiet";
  return wordOf(statusWords, status).tone;
}

function rankOf(agent: Agent): number {
  const { status, liveness, recentErrors } = agent;
  const errors = Math.min(recentErrors?.count ?? 0, 99) / 100;
  if (status === AgentStatus.ERROR) return 5 + errors;
  if (liveness === Liveness.OFFLINE) return 4 + errors;
  if (liveness === Liveness.STALE || isOdd(agent)) return 3 + errors;
  return (recentErrors?.count ?? 0) > 0 ? 2 + errors : liveness === Liveness.NEVER ? 0 : 1;
}
