import { type Agent, Cordon } from "../../../../gen/drover/v1/agent_pb.js";
import { Tag } from "../../parts/badge.tsx";
import { conditions } from "./conditions.ts";

/** What is the matter with an agent besides its status and liveness; a cordon's reason is its title. */
export function ConditionTags({ agent }: { agent: Agent }) {
  const reason = agent.cordon > Cordon.NONE ? agent.cordonReason : "";
  return (
    <>
      {conditions
        // Errors have a place of their own wherever this stands.
        .filter(({ key, holds }) => key !== "failing" && holds(agent))
        .map(({ key, label, explains }) => (
          <Tag
            key={key}
            tone="warn"
            title={reason !== "" && (key === "cordoned" || key === "draining") ? reason : explains}
          >
            {label}
          </Tag>
        ))}
    </>
  );
}
