import { fleet } from "../../api/clients.ts";
import { useResource } from "../../live/resource.ts";
import { topics } from "../../live/topics.ts";
import { Panel } from "../../parts/panel.tsx";
import { ErrorRows } from "../errors/error-rows.tsx";

/** What its agents reported while they worked on it, the newest first; nothing where they reported none. */
export function TaskErrors({ id }: { id: string }) {
  const list = useResource(
    `errors of ${id}`,
    async () => (await fleet.listErrors({ taskId: id, pageSize: 20 })).errors,
    { when: topics.errors },
  );
  const reading = list.reading.value;
  if (reading.kind !== "ready" || reading.value.length === 0) return null;
  return (
    <Panel title="Errors reported meanwhile">
      <ErrorRows errors={reading.value} withAgent withTask={false} openFirst />
    </Panel>
  );
}
