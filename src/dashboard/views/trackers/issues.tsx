import { trackers } from "../../api/clients.ts";
import { useResource } from "../../live/resource.ts";
import { topics } from "../../live/topics.ts";
import { Badge, Labels } from "../../parts/badge.tsx";
import { Panel } from "../../parts/panel.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { TimeAgo } from "../../parts/time-ago.tsx";
import { href } from "../../router.ts";
import { issueWords, wordOf } from "../../words.ts";

/** Issues of all trackers, as the newest pass left them. */
export function Issues() {
  const list = useResource("issues", async () => (await trackers.listIssues({ pageSize: 200 })).issues, {
    everyMs: 15_000,
    when: topics.runs,
  });
  return (
    <Panel title="Issues">
      <ReadingView of={list}>
        {(issues) =>
          issues.length === 0 ? (
            <p class="nothing">No issue was fetched yet. They come with the next pass.</p>
          ) : (
            <ol class="attempts">
              {issues.map((issue) => (
                <li key={issue.id}>
                  <Badge word={wordOf(issueWords, issue.state)} />
                  <a
                    href={/^https:\/\//.test(issue.url) ? issue.url : "#/trackers"}
                    target="_blank"
                    rel="noreferrer"
                  >
                    #{String(issue.number)} {issue.title}
                  </a>
                  {issue.labels.length > 0 && (
                    <Labels labels={Object.fromEntries(issue.labels.map((each) => [each, ""]))} />
                  )}
                  {issue.task !== "" && <a href={href(["tasks", issue.task])}>its task</a>}
                  <span class="faint right number">
                    <TimeAgo time={issue.updatedAt} />
                  </span>
                </li>
              ))}
            </ol>
          )
        }
      </ReadingView>
    </Panel>
  );
}
