import { AttemptOutcome, type Task } from "../../../../gen/drover/v1/task_pb.js";
import { tasks } from "../../api/clients.ts";
import { exactSpan, msOf } from "../../format.ts";
import { now } from "../../live/clock.ts";
import { useResource } from "../../live/resource.ts";
import { topics } from "../../live/topics.ts";
import { Badge } from "../../parts/badge.tsx";
import { Panel } from "../../parts/panel.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { TimeAgo } from "../../parts/time-ago.tsx";
import { href } from "../../router.ts";
import { outcomeWords, wordOf } from "../../words.ts";

/** Every try of a task, the newest first. */
export function Attempts({ task }: { task: Task }) {
  const list = useResource(
    `attempts ${task.id} ${task.attempt} ${task.state}`,
    async () => (await tasks.listAttempts({ task: task.id, orderBy: "number desc", pageSize: 100 })).attempts,
    { when: topics.tasks },
  );
  return (
    <Panel title="Attempts">
      <ReadingView of={list} rows={2}>
        {(attempts) =>
          attempts.length === 0 ? (
            <p class="nothing">No agent has tried it yet.</p>
          ) : (
            <ol class="attempts">
              {attempts.map((attempt) => {
                const [from, to] = [msOf(attempt.startedAt) ?? 0, msOf(attempt.endedAt) ?? now.value];
                return (
                  <li key={attempt.number}>
                    <b class="number">{attempt.number}</b>
                    <Badge word={wordOf(outcomeWords, attempt.outcome ?? AttemptOutcome.UNSPECIFIED)} />
                    <a href={href(["agents", attempt.agent])}>{attempt.agent}</a>
                    <span class="faint right">
                      <TimeAgo time={attempt.startedAt} />, {exactSpan(to - from)}
                    </span>
                    {attempt.error !== undefined && <p>{attempt.error.message}</p>}
                  </li>
                );
              })}
            </ol>
          )
        }
      </ReadingView>
    </Panel>
  );
}
