import type { Task } from "../../../../gen/drover/v1/task_pb.js";
import { tasks } from "../../api/clients.ts";
import { isOperator } from "../../api/session.ts";
import { percent, plural } from "../../format.ts";
import { useResource } from "../../live/resource.ts";
import { topics } from "../../live/topics.ts";
import { Badge, Labels } from "../../parts/badge.tsx";
import { CopyText } from "../../parts/copy.tsx";
import { Empty } from "../../parts/empty.tsx";
import { Explain } from "../../parts/explain.tsx";
import { Icon } from "../../parts/icon.tsx";
import { JsonView, ValueView } from "../../parts/json-view.tsx";
import { Panel } from "../../parts/panel.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { TimeAgo } from "../../parts/time-ago.tsx";
import { href } from "../../router.ts";
import { stateWords, wordOf } from "../../words.ts";
import { Attempts } from "./attempts.tsx";
import { TaskActions } from "./task-actions.tsx";
import { TaskErrors } from "./task-errors.tsx";
import { Priority } from "./task-rows.tsx";

export function TaskView({ id }: { id: string }) {
  const task = useResource(
    `task ${id}`,
    async () => {
      const answer = await tasks.getTask({ task: id });
      if (answer.task === undefined) throw new Error("the answer holds no task");
      return answer.task;
    },
    { everyMs: 2000, when: topics.tasks },
  );
  return (
    <ReadingView of={task} rows={8} missing={<Empty icon="tasks" title="There is no such task" />}>
      {(value) => (
        <article class="page">
          <div class="page-head">
            <a class="back" href={href(["tasks"])}>
              <Icon name="back" />
              Tasks
            </a>
            <h1>{value.kind}</h1>
            <Badge word={wordOf(stateWords, value.state)} />
            {isOperator.value && <TaskActions task={value} onDone={() => task.refresh()} />}
          </div>
          <Explain of={id} read={async () => (await tasks.explainTask({ task: id })).explanation} />
          <Work task={value} />
          <div class="columns">
            <div class="column">
              <TaskErrors id={id} />
              <Panel title="Payload">
                <ValueView value={value.payload} none="It has no payload." />
              </Panel>
              <Panel title="Result">
                <ValueView
                  value={value.result}
                  none={
                    value.finishedAt === undefined ? "There is no result yet." : "It ended without a result."
                  }
                />
              </Panel>
              <StaleResults task={value} />
              {value.checkpoint !== undefined && (
                <Panel title="Checkpoint, where the next attempt begins">
                  <ValueView value={value.checkpoint} none="" />
                </Panel>
              )}
            </div>
            <div class="column">
              <Facts task={value} />
              <Attempts task={value} />
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

function Work({ task }: { task: Task }) {
  const { error } = task;
  const context = error?.context ?? {};
  const hasContext = Object.keys(context).length > 0;
  // Of a task that has ended the explanation says the message already.
  const isTold = task.finishedAt !== undefined && !hasContext;
  return (
    <>
      {task.lease !== undefined && (
        <p class="current-task">
          <progress max={1} value={task.progress} aria-label="Progress" />
          <b class="number">{percent(task.progress)}</b>
          <span>{task.detail || "at work"}</span>
        </p>
      )}
      {error !== undefined && !isTold && (
        <div class="notice" data-tone="bad">
          <p>{error.message}</p>
          {hasContext && <JsonView value={context} />}
        </div>
      )}
    </>
  );
}

function Facts({ task }: { task: Task }) {
  const isOver = task.finishedAt !== undefined;
  return (
    <Panel title="Facts">
      <dl class="facts">
        <dt>Priority</dt>
        <dd>
          <Priority value={task.priority} />
        </dd>
        <dt>Agent</dt>
        <dd>
          {task.agent === "" ? (
            <span class="faint">none yet</span>
          ) : (
            <a href={href(["agents", task.agent])}>{task.agent}</a>
          )}
        </dd>
        <dt>Attempt</dt>
        <dd>
          {task.attempt === 0 ? <span class="faint">none yet</span> : task.attempt}
          <span class="faint">
            {", "}
            {task.retries} of {plural(task.maxRetries, "retry", "retries")} used
            {task.losses > 0 && `, ${plural(task.losses, "agent")} lost`}
          </span>
        </dd>
        <dt>Created</dt>
        <dd>
          <TimeAgo time={task.createdAt} />
        </dd>
        <dt>Started</dt>
        <dd>
          <TimeAgo time={task.startedAt} none={isOver ? "not reported" : "not yet"} />
        </dd>
        <dt>Finished</dt>
        <dd>
          <TimeAgo time={task.finishedAt} none="not yet" />
        </dd>
        {task.nextAttemptAt !== undefined && (
          <>
            <dt>Next try</dt>
            <dd>
              <TimeAgo time={task.nextAttemptAt} />
            </dd>
          </>
        )}
        {(task.requiredCapabilities.length > 0 || Object.keys(task.requiredLabels).length > 0) && (
          <>
            <dt>Needs</dt>
            <dd>
              <Labels
                labels={{
                  ...Object.fromEntries(task.requiredCapabilities.map((each) => [each, ""])),
                  ...task.requiredLabels,
                }}
              />
            </dd>
          </>
        )}
        <dt>Timeout</dt>
        <dd>
          {task.timeout === undefined ? (
            <span class="faint">none</span>
          ) : (
            `${task.timeout.seconds} s an attempt`
          )}
        </dd>
        <dt>Labels</dt>
        <dd>
          <Labels labels={task.labels} />
        </dd>
      </dl>
    </Panel>
  );
}

function StaleResults({ task }: { task: Task }) {
  if (task.staleResults.length === 0) return null;
  return (
    <Panel title="Results that came too late">
      {task.staleResults.map((stale) => (
        <details key={`${stale.agent} ${stale.leaseEpoch} ${stale.kind}`}>
          <summary>
            {stale.kind} by {stale.agent}, <TimeAgo time={stale.time} />
          </summary>
          {stale.error === undefined ? (
            <ValueView value={stale.result} none="It was empty." />
          ) : (
            <p>{stale.error.message}</p>
          )}
        </details>
      ))}
    </Panel>
  );
}
