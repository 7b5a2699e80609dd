import { useSignal } from "@preact/signals";
import type { ErrorGroup } from "../../../../gen/drover/v1/error_report_pb.js";
import { fleet } from "../../api/clients.ts";
import { count, plural } from "../../format.ts";
import { useResource } from "../../live/resource.ts";
import { topics } from "../../live/topics.ts";
import { Badge } from "../../parts/badge.tsx";
import { Command } from "../../parts/copy.tsx";
import { Empty } from "../../parts/empty.tsx";
import { Choice, Controls, TextFilter } from "../../parts/filters.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { TimeAgo } from "../../parts/time-ago.tsx";
import { href, place, refine } from "../../router.ts";
import { numberOf, severityWords, wordOf } from "../../words.ts";
import { ErrorRows } from "./error-rows.tsx";

/** Errors by what they have in common, the newest first. */
export function ErrorsView() {
  const { query } = place.value;
  const agent = query.get("agent") ?? "";
  const severity = query.get("severity") ?? "";
  const number = numberOf(severityWords, severity);
  const groups = useResource(
    `groups ${agent} ${severity}`,
    async () =>
      (
        await fleet.listErrorGroups({
          agent,
          pageSize: 200,
          ...(number !== undefined && { severity: [number] }),
        })
      ).errorGroups,
    { everyMs: 5000, when: topics.errors },
  );
  const open = useSignal<string | undefined>(undefined);
  return (
    <>
      <h1>Errors</h1>
      <Controls>
        <TextFilter label="Agent" parameter="agent" placeholder="Agent's name or id" />
        <Choice label="Severity" parameter="severity" words={severityWords} all="Every severity" />
      </Controls>
      <ReadingView of={groups} rows={8}>
        {(found) =>
          found.length === 0 ? (
            <NoErrors filtered={agent !== "" || severity !== ""} />
          ) : (
            <ul class="groups">
              {found.map((group) => (
                <Group
                  key={group.fingerprint}
                  group={group}
                  agent={agent}
                  open={open.value === group.fingerprint}
                  onToggle={() => {
                    open.value = open.value === group.fingerprint ? undefined : group.fingerprint;
                  }}
                />
              ))}
            </ul>
          )
        }
      </ReadingView>
    </>
  );
}

interface GroupProps {
  readonly group: ErrorGroup;
  readonly agent: string;
  readonly open: boolean;
  readonly onToggle: () => void;
}

function Group({ group, agent, open, onToggle }: GroupProps) {
  const word = wordOf(severityWords, group.severity);
  return (
    <li class="group" data-tone={word.tone}>
      <button type="button" class="group-head" aria-expanded={open} onClick={onToggle}>
        <Badge word={word} />
        <span class="group-message">{group.message}</span>
        <span class="number group-count" title="Occurrences">
          × {count(group.count)}
        </span>
        <span class="faint">{plural(group.agentCount, "agent")}</span>
        <span class="faint group-times">
          <span>
            last <TimeAgo time={group.lastSeenAt} />
          </span>
          <span>
            first <TimeAgo time={group.firstSeenAt} />
          </span>
        </span>
      </button>
      {open && <Occurrences fingerprint={group.fingerprint} agent={agent} />}
    </li>
  );
}

function Occurrences({ fingerprint, agent }: { fingerprint: string; agent: string }) {
  const list = useResource(
    `group ${fingerprint} ${agent}`,
    async () => (await fleet.listErrors({ fingerprint, agent, pageSize: 30 })).errors,
    { when: topics.errors },
  );
  return <ReadingView of={list}>{(errors) => <ErrorRows errors={errors} withAgent openFirst />}</ReadingView>;
}

function NoErrors({ filtered }: { filtered: boolean }) {
  if (filtered) {
    return (
      <Empty icon="errors" title="No error is like that">
        <button type="button" class="button" onClick={() => refine({ agent: "", severity: "" })}>
          Show every error
        </button>
      </Empty>
    );
  }
  return (
    <Empty icon="check" title="No agent has reported an error">
      <p>
        Agents report errors with a heartbeat, or by a call of its own. Secrets are taken out before they are
        stored. A task that failed says why by itself:{" "}
        <a href={href(["tasks"], { state: "failed" })}>look at failed tasks</a>.
      </p>
      <Command
        text={[
          `curl -s ${location.origin}/api/v1/agent/errors \\`,
          `  -H "Authorization: Bearer $AGENT_TOKEN" -H 'Content-Type: application/json' \\`,
          `  -d '{"severity":"major","message":"disk is almost full"}'`,
        ].join("\n")}
      />
    </Empty>
  );
}
