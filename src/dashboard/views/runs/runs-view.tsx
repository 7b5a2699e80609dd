import { durationMs } from "@bufbuild/protobuf/wkt";
import type { Run } from "../../../../gen/drover/v1/run_pb.js";
import { passes } from "../../api/clients.ts";
import { isOperator } from "../../api/session.ts";
import { exactSpan, msOf, plural } from "../../format.ts";
import { useResource } from "../../live/resource.ts";
import { topics } from "../../live/topics.ts";
import { Action } from "../../parts/action.tsx";
import { Badge } from "../../parts/badge.tsx";
import { Command } from "../../parts/copy.tsx";
import { Empty } from "../../parts/empty.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { TimeAgo } from "../../parts/time-ago.tsx";
import { runWords, wordOf } from "../../words.ts";

/** Heartbeat passes, each with what its steps did. */
export function RunsView() {
  const list = useResource("runs", async () => (await passes.listRuns({ pageSize: 100 })).runs, {
    everyMs: 5000,
    when: topics.runs,
  });
  return (
    <>
      <div class="page-head">
        <h1>Runs</h1>
        <div class="actions">{isOperator.value && <RunPass onDone={() => list.refresh()} />}</div>
      </div>
      <ReadingView of={list} rows={8}>
        {(runs) => (runs.length === 0 ? <NoRuns /> : <RunList runs={runs} />)}
      </ReadingView>
    </>
  );
}

function RunPass({ onDone }: { onDone: () => void }) {
  return (
    <Action
      label="Run a pass"
      question="Run a heartbeat pass now?"
      cancel="Cancel"
      onDone={onDone}
      run={async () => {
        const answer = await passes.runHeartbeatPass({ agentName: "dashboard" }, { timeoutMs: 120_000 });
        return answer.summary || "The pass ran.";
      }}
    >
      <p>
        Issues are fetched from every tracker, then what closed upstream is closed, and orphaned tasks are
        requeued.
      </p>
    </Action>
  );
}

function RunList({ runs }: { runs: readonly Run[] }) {
  return (
    <ul class="groups">
      {runs.map((run) => (
        <li key={run.id} class="group">
          <details>
            <summary class="run-head">
              <Badge word={wordOf(runWords, run.status)} />
              <span class="group-message">{run.summary || "At work"}</span>
              <span class="faint">{run.agentName}</span>
              <span class="faint number">
                <TimeAgo time={run.startedAt} />
                {run.finishedAt !== undefined &&
                  `, ${exactSpan((msOf(run.finishedAt) ?? 0) - (msOf(run.startedAt) ?? 0))}`}
              </span>
            </summary>
            <RunDetails run={run} />
          </details>
        </li>
      ))}
    </ul>
  );
}

function RunDetails({ run }: { run: Run }) {
  return (
    <div class="run-body">
      <ol class="attempts">
        {run.steps.map((step) => (
          <li key={step.name}>
            <Badge word={wordOf(runWords, step.status)} />
            <b>{step.name}</b>
            <span>{step.summary}</span>
            <span class="faint right number">
              {step.touchedIssueCount > 0 && `${plural(step.touchedIssueCount, "issue")}, `}
              {step.duration !== undefined && exactSpan(durationMs(step.duration))}
            </span>
          </li>
        ))}
      </ol>
      {[...run.errors, ...run.warnings].map((text) => (
        <p key={text} class="notice" data-tone={run.errors.includes(text) ? "bad" : "warn"}>
          {text}
        </p>
      ))}
      {run.touchedIssueUrls.length > 0 && (
        <ul class="urls">
          {run.touchedIssueUrls.map((url) => (
            <li key={url}>
              <a href={/^https:\/\//.test(url) ? url : "#/runs"} target="_blank" rel="noreferrer">
                {url}
              </a>
            </li>
          ))}
        </ul>
      )}
      <p class="faint">by {run.actor}</p>
    </div>
  );
}

function NoRuns() {
  return (
    <Empty icon="runs" title="No pass has run yet">
      <p>
        A heartbeat pass is the server's housekeeping: it syncs issues from trackers and reconciles them.
        Anything may call it:
      </p>
      <Command text="npx drover pass" />
    </Empty>
  );
}
