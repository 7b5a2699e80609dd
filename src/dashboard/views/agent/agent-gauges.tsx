import type { Agent } from "../../../../gen/drover/v1/agent_pb.js";
import { measure, percent } from "../../format.ts";
import { PROGRESS, sampleRound, samplesOf } from "../../live/fleet-store.ts";
import { Panel } from "../../parts/panel.tsx";
import { Sparkline } from "../../parts/sparkline.tsx";

/** Its measurements, each with what this page has seen of it since it was opened. */
export function AgentGauges({ agent }: { agent: Agent }) {
  const gauges = Object.entries(agent.gauges).sort(([a], [b]) => a.localeCompare(b));
  const progress = agent.currentTask?.progress;
  if (gauges.length === 0 && progress === undefined) return null;
  const version = sampleRound.value;
  const line = (name: string, text: string, range?: readonly [number, number]) => {
    const samples = samplesOf(agent.id, name);
    return (
      <div key={name} class="gauge-line">
        <span>{name}</span>
        <strong class="number">{text}</strong>
        {samples !== undefined && (
          <Sparkline
            samples={samples}
            version={version}
            width={160}
            height={32}
            label={`${name} since this page was opened`}
            {...(range !== undefined && { range })}
          />
        )}
      </div>
    );
  };
  return (
    <Panel title="Gauges">
      {progress !== undefined && line(PROGRESS, percent(progress), [0, 1])}
      {gauges.map(([name, value]) => line(name, measure(value)))}
    </Panel>
  );
}
