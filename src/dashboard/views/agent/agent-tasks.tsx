import type { CurrentTask } from "../../../../gen/drover/v1/agent_pb.js";
import { tasks } from "../../api/clients.ts";
import { percent } from "../../format.ts";
import { useResource } from "../../live/resource.ts";
import { topics } from "../../live/topics.ts";
import { Panel } from "../../parts/panel.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { href } from "../../router.ts";
import { TaskRows } from "../tasks/task-rows.tsx";

/** What it works on, and what it had before. */
export function AgentTasks({ name, current }: { name: string; current: CurrentTask | undefined }) {
  const list = useResource(
    `tasks of ${name}`,
    async () => (await tasks.listTasks({ agent: name, pageSize: 20 })).tasks,
    { everyMs: 5000, when: topics.tasks },
  );
  return (
    <Panel title="Tasks" side={<a href={href(["tasks"], { agent: name })}>All</a>}>
      {current !== undefined && (
        <p class="current-task">
          <progress max={1} value={current.progress} aria-label="Progress" />
          <b class="number">{percent(current.progress)}</b>
          <a href={href(["tasks", current.taskId])}>{current.detail || "at work"}</a>
        </p>
      )}
      <ReadingView of={list}>
        {(found) =>
          found.length === 0 ? (
            <p class="nothing">It has had no task yet.</p>
          ) : (
            <TaskRows tasks={found} withAgent={false} />
          )
        }
      </ReadingView>
    </Panel>
  );
}
