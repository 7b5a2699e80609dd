import { toJson } from "@bufbuild/protobuf";
import { useComputed, useSignal } from "@preact/signals";
import { type Event, EventSchema } from "../../../../gen/drover/v1/event_pb.js";
import { events } from "../../api/clients.ts";
import { clockTime, fullTime, msOf, plural } from "../../format.ts";
import { useResource } from "../../live/resource.ts";
import { tail } from "../../live/tail.ts";
import { Empty } from "../../parts/empty.tsx";
import { Controls, TextFilter } from "../../parts/filters.tsx";
import { Icon } from "../../parts/icon.tsx";
import { JsonView } from "../../parts/json-view.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { place } from "../../router.ts";
import { Subject } from "../audit/audit-rows.tsx";

const SHOWN = 300;

/** What happens, as it happens. Pausing holds the picture still; nothing is lost meanwhile. */
export function EventsView() {
  const held = useSignal<readonly Event[] | undefined>(undefined);
  const type = place.value.query.get("type") ?? "";
  const before = useResource(
    "events",
    async () => (await events.listEvents({ pageSize: 200, orderBy: "time desc" })).events,
  );
  const arrived = useComputed(() => held.value ?? tail.events.value);
  const waiting = useComputed(() =>
    held.value === undefined ? 0 : newerThan(tail.events.value, held.value[0]),
  );
  return (
    <>
      <div class="page-head">
        <h1>Events</h1>
        <div class="actions">
          {waiting.value > 0 && <span class="faint">{plural(waiting.value, "new event")} held back</span>}
          <button
            type="button"
            class="button"
            aria-pressed={held.value !== undefined}
            onClick={() => {
              held.value = held.value === undefined ? tail.events.value : undefined;
            }}
          >
            <Icon name={held.value === undefined ? "pause" : "play"} />
            {held.value === undefined ? "Pause" : "Go on"}
          </button>
        </div>
      </div>
      <Controls>
        <TextFilter label="Type" parameter="type" placeholder="Type: agent, task.failed…" />
      </Controls>
      <ReadingView of={before} rows={10}>
        {(earlier) => {
          const seen = new Set(arrived.value.map(({ cursor }) => cursor));
          const all = [...arrived.value, ...earlier.filter(({ cursor }) => !seen.has(cursor))]
            .filter((event) => event.type.startsWith(type))
            .slice(0, SHOWN);
          return all.length === 0 ? <NoEvents filtered={type !== ""} /> : <Rows events={all} />;
        }}
      </ReadingView>
    </>
  );
}

function newerThan(all: readonly Event[], newestHeld: Event | undefined): number {
  const index = newestHeld === undefined ? -1 : all.indexOf(newestHeld);
  return index === -1 ? all.length : index;
}

function Rows({ events: shown }: { events: readonly Event[] }) {
  return (
    <ol class="panel event-rows" aria-label="Events, the newest first">
      {shown.map((event) => (
        <Row key={event.cursor} event={event} />
      ))}
    </ol>
  );
}

function Row({ event }: { event: Event }) {
  const ms = msOf(event.time) ?? 0;
  const data = event.data ?? {};
  const words = ["from", "to", "agent", "kind", "severity", "message", "reason"]
    .filter((name) => data[name] !== undefined && data[name] !== "")
    .map((name) => `${name} ${String(data[name])}`);
  return (
    <li data-event={event.type}>
      <time class="number faint" title={fullTime(ms)}>
        {clockTime(ms)}
      </time>
      <code class="action">{event.type}</code>
      <span class="event-subject">
        <Subject id={event.subject} />
      </span>
      <details>
        <summary>{words.length === 0 ? "data" : words.join(" · ")}</summary>
        <JsonView value={toJson(EventSchema, event)} />
      </details>
    </li>
  );
}

function NoEvents({ filtered }: { filtered: boolean }) {
  return (
    <Empty icon="events" title={filtered ? "No such event lately" : "Nothing has happened yet"}>
      <p>
        Every fact that is committed shows here as it happens: agents that enroll or fall silent, tasks,
        errors, tokens.
      </p>
    </Empty>
  );
}
