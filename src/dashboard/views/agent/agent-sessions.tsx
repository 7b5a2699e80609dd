import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { type Agent, Liveness, type SessionRecord } from "../../../../gen/drover/v1/agent_pb.js";
import { fleet } from "../../api/clients.ts";
import { count, exactSpan, msOf } from "../../format.ts";
import { useResource } from "../../live/resource.ts";
import { Tag } from "../../parts/badge.tsx";
import { Panel } from "../../parts/panel.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { TimeAgo } from "../../parts/time-ago.tsx";

const STEP = 10;

/** The runs of its process, the newest first: a process that restarts again and again is seen here. */
export function AgentSessions({ agent }: { agent: Agent }) {
  const size = useSignal(STEP);
  const list = useResource(
    `sessions of ${agent.name}`,
    async () => await fleet.listAgentSessions({ agent: agent.name, pageSize: size.value }),
    { everyMs: 10_000 },
  );
  const newest = agent.session?.epoch ?? 0n;
  useEffect(() => list.refresh(), [newest, size.value]);
  return (
    <Panel title="Sessions" side={newest > 0n && <span class="faint number">{count(Number(newest))}</span>}>
      <ReadingView of={list} rows={2}>
        {({ sessions, nextPageToken }) =>
          sessions.length === 0 ? (
            <p class="nothing">
              It has named none. A process that sends a boot id of its own with its heartbeats is told from
              the one before it, and its repeats have no second effect.
            </p>
          ) : (
            <>
              <ol class="attempts">
                {sessions.map((run) => (
                  <Run key={run.epoch} run={run} isLost={agent.liveness === Liveness.OFFLINE} />
                ))}
              </ol>
              {nextPageToken !== "" && size.value < 1000 && (
                <button
                  type="button"
                  class="button more"
                  onClick={() => {
                    size.value = Math.min(1000, size.value * 4);
                  }}
                >
                  Show older ones
                </button>
              )}
            </>
          )
        }
      </ReadingView>
    </Panel>
  );
}

function Run({ run, isLost }: { run: SessionRecord; isLost: boolean }) {
  const began = msOf(run.startedAt) ?? 0;
  const heard = msOf(run.lastHeartbeatAt);
  const over = msOf(run.supersededAt);
  return (
    <li>
      <b class="number">{count(Number(run.epoch))}</b>
      {run.current && <Tag tone={isLost ? "bad" : "good"}>{isLost ? "Lost" : "Present"}</Tag>}
      <span>
        began <TimeAgo time={run.startedAt} />
      </span>
      <span class="faint right">
        {heard === undefined ? "no heartbeat" : `heard for ${exactSpan(heard - began)}`}
        {over !== undefined && heard !== undefined && `, the next came ${exactSpan(over - heard)} later`}
      </span>
      <code class="boot" title="boot id">
        {run.bootId}
      </code>
    </li>
  );
}
