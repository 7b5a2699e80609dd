import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { useSignal } from "@preact/signals";
import { allPages } from "../../api/all-pages.ts";
import { events } from "../../api/clients.ts";
import { sentenceOf } from "../../api/failure.ts";
import { count, plural } from "../../format.ts";
import { serverNow } from "../../live/clock.ts";
import { useResource } from "../../live/resource.ts";
import { say } from "../../live/toasts.ts";
import { topics } from "../../live/topics.ts";
import { Empty } from "../../parts/empty.tsx";
import { Choice, Controls, TextFilter } from "../../parts/filters.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { place, refine } from "../../router.ts";
import { AuditRows } from "./audit-rows.tsx";
import { saveAs, toCsv, toJsonLines } from "./export-audit.ts";

const spans = {
  hour: { key: "hour", label: "Last hour", tone: "quiet", ms: 3_600_000 },
  day: { key: "day", label: "Last 24 hours", tone: "quiet", ms: 86_400_000 },
  week: { key: "week", label: "Last 7 days", tone: "quiet", ms: 604_800_000 },
} as const;

const PAGE = 100;
/** What an export holds at most, in pages of a thousand. */
const EXPORT_PAGES = 50;

function filterOf(query: URLSearchParams) {
  const action = query.get("action") ?? "";
  const span = Object.values(spans).find(({ key }) => key === query.get("span"));
  return {
    subject: query.get("subject") ?? "",
    actor: query.get("actor") ?? "",
    action: action === "" ? [] : [action],
    ...(span !== undefined && { since: timestampFromMs(serverNow() - span.ms) }),
  };
}

/** Who changed what, the newest first. */
export function AuditView() {
  const { query } = place.value;
  const more = useSignal(1);
  const list = useResource(
    `audit ${query} ${more.value}`,
    async () =>
      await events.listAuditEntries({ ...filterOf(query), pageSize: Math.min(1000, PAGE * more.value) }),
    { everyMs: 10_000, when: topics.any },
  );
  const filtered = query.toString() !== "";
  return (
    <>
      <div class="page-head">
        <h1>Audit</h1>
        <div class="actions">
          <Export query={query} />
        </div>
      </div>
      <Controls>
        <TextFilter label="Subject" parameter="subject" placeholder="Of: name or id" />
        <TextFilter label="Actor" parameter="actor" placeholder="By: agent:NAME" />
        <TextFilter label="Action" parameter="action" placeholder="What: agent.enrolled" />
        <Choice label="Time" parameter="span" words={spans} all="Any time" />
      </Controls>
      <ReadingView of={list} rows={10}>
        {({ entries, nextPageToken }) =>
          entries.length === 0 ? (
            <Empty icon="audit" title={filtered ? "No entry is like that" : "Nothing has been changed yet"}>
              {filtered ? (
                <button
                  type="button"
                  class="button"
                  onClick={() => refine({ subject: "", actor: "", action: "", span: "" })}
                >
                  Show every entry
                </button>
              ) : (
                <p>Every change of state gets an entry, written in the transaction that makes the change.</p>
              )}
            </Empty>
          ) : (
            <div class="panel">
              <AuditRows entries={entries} />
              {nextPageToken !== "" && more.value * PAGE < 1000 && (
                <button
                  type="button"
                  class="button more"
                  onClick={() => {
                    more.value += 1;
                  }}
                >
                  Show more
                </button>
              )}
            </div>
          )
        }
      </ReadingView>
    </>
  );
}

function Export({ query }: { query: URLSearchParams }) {
  const busy = useSignal(false);
  const run = async (kind: "csv" | "jsonl") => {
    busy.value = true;
    try {
      const entries = await allPages(
        (page) => events.listAuditEntries({ ...filterOf(query), ...page }),
        (page) => page.entries,
        EXPORT_PAGES,
      );
      const name = `drover-audit-${new Date(serverNow()).toISOString().slice(0, 19).replaceAll(":", "")}`;
      if (kind === "csv") saveAs(`${name}.csv`, "text/csv", toCsv(entries));
      else saveAs(`${name}.jsonl`, "application/x-ndjson", toJsonLines(entries));
      const most = EXPORT_PAGES * 1000;
      if (entries.length < most) say(`${plural(entries.length, "entry", "entries")} exported.`);
      else say(`The newest ${count(most)} entries exported; narrow them down for older ones.`, "warn");
    } catch (error) {
      say(sentenceOf(error), "bad");
    } finally {
      busy.value = false;
    }
  };
  return (
    <>
      <button type="button" class="button" disabled={busy.value} onClick={() => run("csv")}>
        Export CSV
      </button>
      <button type="button" class="button" disabled={busy.value} onClick={() => run("jsonl")}>
        Export JSON
      </button>
    </>
  );
}
