import { fleet } from "../../api/clients.ts";
import { useResource } from "../../live/resource.ts";
import { topics } from "../../live/topics.ts";
import { Panel } from "../../parts/panel.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { href } from "../../router.ts";
import { ErrorRows } from "../errors/error-rows.tsx";

/** What went wrong with it lately, the newest first. */
export function AgentErrors({ name }: { name: string }) {
  const list = useResource(
    `errors of ${name}`,
    async () => (await fleet.listErrors({ agent: name, pageSize: 20 })).errors,
    { everyMs: 5000, when: topics.errors },
  );
  return (
    <Panel title="Errors" side={<a href={href(["errors"], { agent: name })}>All</a>}>
      <ReadingView of={list}>
        {(found) =>
          found.length === 0 ? (
            <p class="nothing">It has reported no errors.</p>
          ) : (
            <ErrorRows errors={found} openFirst />
          )
        }
      </ReadingView>
    </Panel>
  );
}
