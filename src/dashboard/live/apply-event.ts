import { clone } from "@bufbuild/protobuf";
import { type Agent, AgentSchema } from "../../../gen/drover/v1/agent_pb.js";
import type { Event } from "../../../gen/drover/v1/event_pb.js";
import { livenessWords, numberOf, statusWords } from "../words.ts";
import { changeAgent, dropAgent } from "./fleet-store.ts";
import { stir, type Topic } from "./topics.ts";

/** What views read again after an event of a type that begins so. */
const topicOf: Readonly<Record<string, Topic>> = {
  agent: "agents",
  task: "tasks",
  error: "errors",
  token: "tokens",
  run: "runs",
  tracker: "runs",
  issue: "runs",
};

/**
 * Takes an event into what the page shows. Returns true where the fleet has to be listed for it: of an agent that
 * enrolled, the event tells no more than that.
 */
export function applyEvent(event: Event): boolean {
  const kind = event.type.split(".", 1)[0] ?? "";
  stir(topicOf[kind] ?? "any");
  const to = event.data?.to;
  switch (event.type) {
    case "agent.status_changed":
      return changed(event, typeof to === "string" ? { status: numberOf(statusWords, to) } : {});
    case "agent.liveness_changed":
      return changed(event, typeof to === "string" ? { liveness: numberOf(livenessWords, to) } : {});
    case "agent.removed":
      dropAgent(event.subject);
      return false;
    case "agent.enrolled":
    case "agent.cordoned":
    case "agent.draining":
    case "agent.uncordoned":
    case "agent.flapping_started":
    case "agent.flapping_ended":
    case "error.reported":
      return true;
    default:
      return false;
  }
}

function changed(
  { subject }: Event,
  { status, liveness }: Partial<Record<"status" | "liveness", number | undefined>>,
): boolean {
  changeAgent(subject, (agent: Agent) => {
    const next = clone(AgentSchema, agent);
    if (status !== undefined) next.status = status;
    if (liveness !== undefined) next.liveness = liveness;
    return next;
  });
  return false;
}
