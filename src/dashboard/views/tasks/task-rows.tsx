import type { Task } from "../../../../gen/drover/v1/task_pb.js";
import { TaskState } from "../../../../gen/drover/v1/task_pb.js";
import { percent, shortId } from "../../format.ts";
import { Badge } from "../../parts/badge.tsx";
import { TimeAgo } from "../../parts/time-ago.tsx";
import { href } from "../../router.ts";
import { stateWords, wordOf } from "../../words.ts";

/** Tasks as rows of a list. */
export function TaskRows({ tasks, withAgent = true }: { tasks: readonly Task[]; withAgent?: boolean }) {
  const heads = [
    "Task",
    "State",
    "Priority",
    "Progress",
    "Attempt",
    ...(withAgent ? ["Agent"] : []),
    "Created",
  ];
  return (
    <div
      class={withAgent ? "grid tasks-grid" : "grid tasks-grid without-agent"}
      role="table"
      aria-label="Tasks"
    >
      <div class="grid-head" role="row">
        {heads.map((name) => (
          <span key={name} role="columnheader">
            {name}
          </span>
        ))}
      </div>
      <div role="rowgroup">
        {tasks.map((task) => (
          <Row key={task.id} task={task} withAgent={withAgent} />
        ))}
      </div>
    </div>
  );
}

function Row({ task, withAgent }: { task: Task; withAgent: boolean }) {
  const atWork = task.state === TaskState.RUNNING || task.state === TaskState.LEASED;
  return (
    <div class="grid-row" role="row" data-task={task.id}>
      <span role="cell" class="cell-name">
        <a class="stretched" href={href(["tasks", task.id])}>
          {task.kind}
        </a>
        <code class="faint" title={task.id}>
          {shortId(task.id)}
        </code>
      </span>
      <span role="cell" class="cell-state">
        <Badge word={wordOf(stateWords, task.state)} />
      </span>
      <span role="cell" class="cell-priority">
        <Priority value={task.priority} />
      </span>
      <span role="cell" class="cell-work">
        {atWork ? (
          <span class="work" title={task.detail}>
            <progress max={1} value={task.progress} aria-label="Progress" />
            <span class="number">{percent(task.progress)}</span>
            <span class="detail">{task.detail}</span>
          </span>
        ) : (
          <span class="detail faint" title={task.error?.message}>
            {task.error?.message ?? ""}
          </span>
        )}
      </span>
      <span role="cell" class="number cell-attempt">
        {task.attempt === 0 ? <span class="faint">none</span> : task.attempt}
      </span>
      {withAgent && (
        <span role="cell" class="cell-agent">
          {task.agent === "" ? <span class="faint">–</span> : task.agent}
        </span>
      )}
      <span role="cell" class="number cell-time">
        <TimeAgo time={task.createdAt} />
      </span>
    </div>
  );
}

/** A priority as its number and a bar of as many steps. */
export function Priority({ value }: { value: number }) {
  return (
    <span class="priority" data-high={value >= 8} title={`Priority ${value} of 9`}>
      <b class="number">{value}</b>
      <i aria-hidden="true">
        <i style={{ width: `${((value + 1) / 10) * 100}%` }} />
      </i>
    </span>
  );
}
