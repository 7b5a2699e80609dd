import type { Agent } from "../../../../gen/drover/v1/agent_pb.js";
import { count } from "../../format.ts";
import { Labels } from "../../parts/badge.tsx";
import { JsonView } from "../../parts/json-view.tsx";
import { Panel } from "../../parts/panel.tsx";
import { TimeAgo } from "../../parts/time-ago.tsx";

/** What is known of an agent and of the run of its process. */
export function AgentFacts({ agent }: { agent: Agent }) {
  const { session, deviceInfo } = agent;
  const hasDevice = deviceInfo !== undefined && Object.keys(deviceInfo).length > 0;
  return (
    <Panel title="Facts">
      <dl class="facts">
        <dt>Last heartbeat</dt>
        <dd>
          <TimeAgo time={agent.lastHeartbeatAt} />
        </dd>
        <dt>In this status</dt>
        <dd>
          <TimeAgo time={agent.statusChangedAt} none="since it was enrolled" />
        </dd>
        <dt>Enrolled</dt>
        <dd>
          <TimeAgo time={agent.createdAt} />
        </dd>
        <dt>Session</dt>
        <dd>
          {session === undefined ? (
            <span class="faint">it names none</span>
          ) : (
            <>
              run {count(Number(session.epoch))}, heartbeat {count(Number(session.sequence))}
              <code class="boot" title="boot id">
                {session.bootId}
              </code>
            </>
          )}
        </dd>
        <dt>Labels</dt>
        <dd>
          <Labels labels={agent.labels} />
        </dd>
        <dt>Capabilities</dt>
        <dd>
          {agent.capabilities.length === 0 ? (
            <span class="faint">none</span>
          ) : (
            <Labels labels={Object.fromEntries(agent.capabilities.map((each) => [each, ""]))} />
          )}
        </dd>
      </dl>
      {hasDevice && (
        <details>
          <summary>Device</summary>
          <JsonView value={deviceInfo} />
        </details>
      )}
    </Panel>
  );
}
