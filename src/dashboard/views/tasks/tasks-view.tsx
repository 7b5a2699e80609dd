import { useSignal } from "@preact/signals";
import { tasks } from "../../api/clients.ts";
import { isOperator } from "../../api/session.ts";
import { useResource } from "../../live/resource.ts";
import { topics } from "../../live/topics.ts";
import { Command } from "../../parts/copy.tsx";
import { Empty } from "../../parts/empty.tsx";
import { Choice, Controls, TextFilter } from "../../parts/filters.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { place, refine } from "../../router.ts";
import { numberOf, stateWords } from "../../words.ts";
import { Queue } from "./queue.tsx";
import { SubmitTask } from "./submit-task.tsx";
import { TaskRows } from "./task-rows.tsx";

const PAGE = 100;

/** The queue, and what became of the work. */
export function TasksView() {
  const { query } = place.value;
  const [state, kind, agent] = ["state", "kind", "agent"].map((name) => query.get(name) ?? "");
  const number = numberOf(stateWords, state ?? "");
  const pages = useSignal(1);
  const list = useResource(
    `tasks ${query} ${pages.value}`,
    async () =>
      await tasks.listTasks({
        pageSize: Math.min(1000, PAGE * pages.value),
        agent: agent ?? "",
        kind: kind ? [kind] : [],
        state: number === undefined ? [] : [number],
      }),
    { everyMs: 3000, when: topics.tasks },
  );
  const filtered = Boolean(state || kind || agent);
  return (
    <>
      <div class="page-head">
        <h1>Tasks</h1>
        <div class="actions">{isOperator.value && <SubmitTask onDone={() => list.refresh()} />}</div>
      </div>
      <Queue />
      <Controls>
        <TextFilter label="Kind" parameter="kind" placeholder="Kind" />
        <TextFilter label="Agent" parameter="agent" placeholder="Agent" />
        <Choice label="State" parameter="state" words={stateWords} all="Every state" />
      </Controls>
      <ReadingView of={list} rows={10}>
        {({ tasks: found, nextPageToken }) =>
          found.length === 0 ? (
            <NoTasks filtered={filtered} />
          ) : (
            <>
              <TaskRows tasks={found} />
              {nextPageToken !== "" && pages.value * PAGE < 1000 && (
                <button
                  type="button"
                  class="button more"
                  onClick={() => {
                    pages.value += 1;
                  }}
                >
                  Show more
                </button>
              )}
            </>
          )
        }
      </ReadingView>
    </>
  );
}

function NoTasks({ filtered }: { filtered: boolean }) {
  if (filtered) {
    return (
      <Empty icon="tasks" title="No task is like that">
        <button type="button" class="button" onClick={() => refine({ state: "", kind: "", agent: "" })}>
          Show every task
        </button>
      </Empty>
    );
  }
  return (
    <Empty icon="tasks" title="No work yet">
      <p>
        A task has a kind, and a payload of any JSON. An agent that claims its kind gets it, and its result
        lands here.
      </p>
      <Command
        text={[
          `curl -s ${location.origin}/api/v1/tasks \\`,
          `  -H "Authorization: Bearer $OPERATOR_TOKEN" -H 'Content-Type: application/json' \\`,
          `  -d '{"kind":"hello","payload":{"name":"world"}}'`,
        ].join("\n")}
      />
    </Empty>
  );
}
