import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { AgentStatus, Liveness } from "../../../../gen/drover/v1/agent_pb.js";
import { ago, measure, percent } from "../../format.ts";
import type { AgentRow } from "../../live/agent-row.ts";
import { now } from "../../live/clock.ts";
import { PROGRESS, sampleRound, samplesOf } from "../../live/fleet-store.ts";
import { Badge } from "../../parts/badge.tsx";
import { Sparkline } from "../../parts/sparkline.tsx";
import { VirtualRows } from "../../parts/virtual-rows.tsx";
import { href } from "../../router.ts";
import { severityWords, wordOf } from "../../words.ts";
import { ConditionTags } from "./condition-tags.tsx";

const WIDE_ROW = 40;
const NARROW_ROW = 68;

/** The list of agents: thousands of rows, of which those on the screen exist. */
export function FleetTable({ rows }: { rows: readonly AgentRow[] }) {
  const narrow = useSignal(false);
  useEffect(() => {
    const query = matchMedia("(max-width: 760px)");
    const look = () => {
      narrow.value = query.matches;
    };
    look();
    query.addEventListener("change", look);
    return () => query.removeEventListener("change", look);
  }, [narrow]);
  if (rows.length === 0)
    return <p class="nothing">No agent is like that. Change the search, or clear the filters.</p>;
  return (
    <div class="grid fleet-grid" role="table" aria-label="Agents" aria-rowcount={rows.length + 1}>
      <div class="grid-head" role="row">
        {["Agent", "Status", "Liveness", "Work", "Gauges", "Errors, 24 h", "Heartbeat"].map((name) => (
          <span key={name} role="columnheader">
            {name}
          </span>
        ))}
      </div>
      <VirtualRows
        count={rows.length}
        rowHeight={narrow.value ? NARROW_ROW : WIDE_ROW}
        row={(index) => {
          const row = rows[index];
          return row === undefined ? null : <Row key={row.agent.id} row={row} index={index} />;
        }}
      />
    </div>
  );
}

function Row({ row, index }: { row: AgentRow; index: number }) {
  const { agent } = row;
  return (
    <div class="grid-row" role="row" aria-rowindex={index + 2} data-agent={row.name} data-tone={row.tone}>
      <span role="cell" class="cell-name">
        <a class="stretched" href={href(["agents", row.name])} title={row.name}>
          {row.name}
        </a>
        <ConditionTags agent={agent} />
      </span>
      <span role="cell" class="cell-status">
        <Badge word={row.status} />
      </span>
      <span role="cell" class="cell-liveness">
        <Badge word={row.liveness} />
      </span>
      <span role="cell" class="cell-work">
        <Work row={row} />
      </span>
      <span role="cell" class="cell-gauges">
        <Gauge row={row} />
      </span>
      <span role="cell" class="cell-errors">
        <Errors row={row} />
      </span>
      <span role="cell" class="cell-beat number">
        {agent.lastHeartbeatAt === undefined ? (
          <span class="faint">never</span>
        ) : (
          ago(row.lastBeatMs ?? 0, now.value)
        )}
      </span>
    </div>
  );
}

function Work({ row: { agent } }: { row: AgentRow }) {
  const task = agent.currentTask;
  if (task === undefined) {
    const idle = agent.liveness === Liveness.LIVE && agent.status !== AgentStatus.ERROR;
    return <span class="faint">{idle ? "idle" : "–"}</span>;
  }
  return (
    <span class="work" title={task.detail}>
      <progress max={1} value={task.progress} aria-label="Progress" />
      <span class="number">{percent(task.progress)}</span>
      <span class="detail">{task.detail}</span>
    </span>
  );
}

function Gauge({ row: { agent } }: { row: AgentRow }) {
  const [first, ...others] = Object.entries(agent.gauges).sort(([a], [b]) => a.localeCompare(b));
  const version = sampleRound.value;
  if (first === undefined) {
    const samples = agent.currentTask === undefined ? undefined : samplesOf(agent.id, PROGRESS);
    if (samples === undefined) return <span class="faint">–</span>;
    return (
      <Sparkline
        samples={samples}
        version={version}
        width={72}
        height={22}
        label="Progress over time"
        range={[0, 1]}
      />
    );
  }
  const [name, value] = first;
  const samples = samplesOf(agent.id, name);
  const all = [first, ...others].map(([key, number]) => `${key}: ${measure(number)}`).join("\n");
  return (
    <span class="gauge" title={all}>
      {samples !== undefined && (
        <Sparkline samples={samples} version={version} width={72} height={22} label={`${name} over time`} />
      )}
      <span class="number">{measure(value)}</span>
      <span class="unit">{name}</span>
    </span>
  );
}

function Errors({ row: { agent } }: { row: AgentRow }) {
  const errors = agent.recentErrors;
  if (errors === undefined || errors.count === 0) return <span class="faint">none</span>;
  const worst = wordOf(severityWords, errors.worstSeverity ?? 0);
  return <Badge word={{ ...worst, label: `${errors.count} · ${worst.label.toLowerCase()}` }} />;
}
