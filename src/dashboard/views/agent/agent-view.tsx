import { fleet } from "../../api/clients.ts";
import { isOperator } from "../../api/session.ts";
import { useResource } from "../../live/resource.ts";
import { topics } from "../../live/topics.ts";
import { Badge } from "../../parts/badge.tsx";
import { CopyText } from "../../parts/copy.tsx";
import { Empty } from "../../parts/empty.tsx";
import { Explain } from "../../parts/explain.tsx";
import { Icon } from "../../parts/icon.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { href } from "../../router.ts";
import { livenessWords, statusWords, wordOf } from "../../words.ts";
import { ConditionTags } from "../fleet/condition-tags.tsx";
import { AgentActions } from "./agent-actions.tsx";
import { AgentAudit } from "./agent-audit.tsx";
import { AgentErrors } from "./agent-errors.tsx";
import { AgentFacts } from "./agent-facts.tsx";
import { AgentGauges } from "./agent-gauges.tsx";
import { AgentSessions } from "./agent-sessions.tsx";
import { AgentTasks } from "./agent-tasks.tsx";
import { StateTimeline } from "./state-timeline.tsx";

export function AgentView({ name }: { name: string }) {
  const agent = useResource(
    `agent ${name}`,
    async () => {
      const answer = await fleet.getAgent({ agent: name });
      if (answer.agent === undefined) throw new Error("the answer holds no agent");
      return answer.agent;
    },
    { everyMs: 2000, when: topics.agents },
  );
  return (
    <ReadingView of={agent} rows={8} missing={<Missing name={name} />}>
      {(value) => (
        <article class="page">
          <div class="page-head">
            <a class="back" href={href(["fleet"])}>
              <Icon name="back" />
              Fleet
            </a>
            <h1>{value.name}</h1>
            <Badge word={wordOf(statusWords, value.status)} />
            <Badge word={wordOf(livenessWords, value.liveness)} />
            <ConditionTags agent={value} />
            {isOperator.value && <AgentActions agent={value} onDone={() => agent.refresh()} />}
          </div>
          <Explain of={name} read={async () => (await fleet.explainAgent({ agent: name })).explanation} />
          <StateTimeline agent={value} />
          <div class="columns">
            <div class="column">
              <AgentErrors name={name} />
              <AgentTasks name={name} current={value.currentTask} />
            </div>
            <div class="column">
              <AgentFacts agent={value} />
              <AgentGauges agent={value} />
              <AgentSessions agent={value} />
              <AgentAudit id={value.id} />
            </div>
          </div>
          <p class="faint id-line">
            <CopyText text={value.id} />
          </p>
        </article>
      )}
    </ReadingView>
  );
}

function Missing({ name }: { name: string }) {
  return (
    <Empty icon="fleet" title={`No agent is called ${name}`}>
      <p>
        It was removed, or never enrolled here. Its errors and audit entries stay under its id.{" "}
        <a href={href(["audit"])}>Look in the audit log</a>
      </p>
    </Empty>
  );
}
