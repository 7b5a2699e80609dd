import type { AuditEntry } from "../../../../gen/drover/v1/event_service_pb.js";
import { fullTime, msOf, shortId } from "../../format.ts";
import { agentRows } from "../../live/fleet-store.ts";
import { Icon } from "../../parts/icon.tsx";
import { TimeAgo } from "../../parts/time-ago.tsx";
import { href } from "../../router.ts";

interface AuditRowsProps {
  readonly entries: readonly AuditEntry[];
  readonly withSubject?: boolean;
}

/** Audit entries as sentences. */
export function AuditRows({ entries, withSubject = true }: AuditRowsProps) {
  return (
    <ol class="audit-rows">
      {entries.map((entry) => (
        <li key={entry.id} title={fullTime(msOf(entry.time) ?? 0)}>
          <span class="faint audit-time">
            <TimeAgo time={entry.time} />
          </span>
          <div>
            <p>
              <code class="action">{entry.action}</code>
              {withSubject && <Subject id={entry.subject} />}
              {entry.field !== "" && (entry.from !== "" || entry.to !== "") && <Change entry={entry} />}
            </p>
            <p class="faint">
              by <Actor actor={entry.actor} />
              {entry.reason !== "" && <>: {entry.reason}</>}
            </p>
          </div>
        </li>
      ))}
    </ol>
  );
}

function Change({ entry: { field, from, to } }: { entry: AuditEntry }) {
  return (
    <span class="change">
      {field} {from !== "" && <b>{from}</b>}
      {from !== "" && <Icon name="next" />}
      <b>{to}</b>
    </span>
  );
}

/** What an entry is about: by its name where it is an agent that is known here. */
export function Subject({ id }: { id: string }) {
  const name = agentRows.value.get(id)?.name;
  if (name !== undefined) return <a href={href(["agents", name])}>{name}</a>;
  if (id.startsWith("task_")) return <a href={href(["tasks", id])}>task …{shortId(id)}</a>;
  const kind = id.split("_", 1)[0] ?? "";
  return <code title={id}>{id.includes("_") ? `${kind} …${shortId(id)}` : id}</code>;
}

function Actor({ actor }: { actor: string }) {
  const name = actor.startsWith("agent:") ? actor.slice("agent:".length) : undefined;
  if (name !== undefined) return <a href={href(["agents", name])}>{name}</a>;
  if (actor.startsWith("token:")) return <code title={actor}>token …{shortId(actor)}</code>;
  return <span>{actor}</span>;
}
