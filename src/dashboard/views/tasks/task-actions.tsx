import { type Task, TaskState } from "../../../../gen/drover/v1/task_pb.js";
import { tasks } from "../../api/clients.ts";
import { Action } from "../../parts/action.tsx";

const newRequestId = (): string => `dashboard-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;

const retriable: readonly TaskState[] = [
  TaskState.PENDING,
  TaskState.FAILED,
  TaskState.CANCELLED,
  TaskState.QUARANTINED,
];
const open: readonly TaskState[] = [TaskState.PENDING, TaskState.LEASED, TaskState.RUNNING];

/** What an operator can do to a task. */
export function TaskActions({ task, onDone }: { task: Task; onDone: () => void }) {
  return (
    <div class="actions">
      <Action
        label="Retry"
        question="Try this task anew?"
        disabled={
          retriable.includes(task.state)
            ? undefined
            : "Only a task that waits, failed, was cancelled or set aside can be retried"
        }
        onDone={onDone}
        run={async () => {
          await tasks.retryTask({ task: task.id, requestId: newRequestId() });
          return "The task waits for an agent again.";
        }}
      >
        <p>
          It goes back to the queue with all of its retries. One that waits for its next try gets it at once.
        </p>
      </Action>
      <Action
        label="Cancel the task"
        question="Cancel this task?"
        danger
        disabled={open.includes(task.state) ? undefined : "It has ended already"}
        onDone={onDone}
        run={async (form) => {
          await tasks.cancelTask({ task: task.id, reason: String(form.get("reason") ?? "") });
          return "The task was cancelled.";
        }}
      >
        <p>
          {task.lease === undefined
            ? "It will not be tried."
            : `${task.agent} is told to stop its work on it.`}
        </p>
        <label class="field">
          <span>Reason, kept with the task</span>
          <input name="reason" maxLength={1024} autoComplete="off" />
        </label>
      </Action>
    </div>
  );
}
