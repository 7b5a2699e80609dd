import { events } from "../../api/clients.ts";
import { useResource } from "../../live/resource.ts";
import { topics } from "../../live/topics.ts";
import { Panel } from "../../parts/panel.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { href } from "../../router.ts";
import { AuditRows } from "../audit/audit-rows.tsx";

/** What was done to it, and what it became. */
export function AgentAudit({ id }: { id: string }) {
  const list = useResource(
    `audit of ${id}`,
    async () => (await events.listAuditEntries({ subject: id, pageSize: 15 })).entries,
    { everyMs: 10_000, when: topics.agents },
  );
  return (
    <Panel title="Audit" side={<a href={href(["audit"], { subject: id })}>All</a>}>
      <ReadingView of={list}>
        {(found) =>
          found.length === 0 ? (
            <p class="nothing">Nothing has happened to it yet.</p>
          ) : (
            <AuditRows entries={found} withSubject={false} />
          )
        }
      </ReadingView>
    </Panel>
  );
}
