import type { Task } from "../../../../gen/drover/v1/task_pb.js";
import { TaskState } from "../../../../gen/drover/v1/task_pb.js";
import { allPages } from "../../api/all-pages.ts";
import { tasks } from "../../api/clients.ts";
import { count, plural } from "../../format.ts";
import { useResource } from "../../live/resource.ts";
import { topics } from "../../live/topics.ts";
import { href } from "../../router.ts";
import { stateWords, wordOf } from "../../words.ts";

const open = [TaskState.RUNNING, TaskState.LEASED, TaskState.PENDING] as const;
/** Pages of a thousand that are counted; beyond, the numbers say so. */
const COUNTED_PAGES = 3;

/** Work that has not ended, by priority and state. */
export function Queue() {
  const list = useResource(
    "queue",
    async () =>
      await allPages(
        (page) => tasks.listTasks({ ...page, state: [...open, TaskState.QUARANTINED] }),
        (page) => page.tasks,
        COUNTED_PAGES,
      ),
    { everyMs: 3000, when: topics.tasks },
  );
  const reading = list.reading.value;
  if (reading.kind !== "ready") return <div class="queue skeleton" aria-hidden="true" />;
  const { value } = reading;
  const found = value.filter(({ state }) => state !== TaskState.QUARANTINED);
  const quarantined = value.length - found.length;
  const more = value.length >= COUNTED_PAGES * 1000 ? "+" : "";
  const levels = Array.from({ length: 10 }, (_, index) => 9 - index).map((priority) => ({
    priority,
    tasks: found.filter((task) => task.priority === priority),
  }));
  const most = Math.max(1, ...levels.map((level) => level.tasks.length));
  return (
    <section class="queue" aria-label="Queue">
      <div class="queue-totals">
        {open.map((state) => (
          <span key={state} data-tone={wordOf(stateWords, state).tone}>
            <b class="number">
              {count(found.filter((task) => task.state === state).length)}
              {more}
            </b>
            {wordOf(stateWords, state).label.toLowerCase()}
          </span>
        ))}
        {quarantined > 0 && (
          <a
            href={href(["tasks"], { state: "quarantined" })}
            title="They took down several agents and wait for somebody"
          >
            <b class="number">
              {count(quarantined)}
              {more}
            </b>
            quarantined
          </a>
        )}
      </div>
      <div class="queue-levels" role="list">
        {levels.map((level) => (
          <Level key={level.priority} {...level} most={most} />
        ))}
      </div>
    </section>
  );
}

function Level({ priority, tasks: found, most }: { priority: number; tasks: readonly Task[]; most: number }) {
  const parts = open.map((state) => ({
    word: wordOf(stateWords, state),
    number: found.filter((task) => task.state === state).length,
  }));
  const told = parts
    .filter(({ number }) => number > 0)
    .map(({ word, number }) => `${number} ${word.label.toLowerCase()}`);
  const story = `Priority ${priority}: ${told.length === 0 ? "nothing" : told.join(", ")}`;
  return (
    <div
      class="queue-level"
      role="listitem"
      title={story}
      aria-label={`${story} (${plural(found.length, "task")})`}
    >
      <div class="queue-bar" aria-hidden="true">
        {parts.map(({ word, number }) => (
          <i key={word.key} data-tone={word.tone} style={{ height: `${(number / most) * 100}%` }} />
        ))}
      </div>
      <span class="number" aria-hidden="true">
        {priority}
      </span>
    </div>
  );
}
