import { type Tracker, TrackerKind } from "../../../../gen/drover/v1/tracker_pb.js";
import { trackers } from "../../api/clients.ts";
import { isOperator } from "../../api/session.ts";
import { useResource } from "../../live/resource.ts";
import { topics } from "../../live/topics.ts";
import { Action } from "../../parts/action.tsx";
import { Badge, Tag } from "../../parts/badge.tsx";
import { Command } from "../../parts/copy.tsx";
import { Empty } from "../../parts/empty.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { TimeAgo } from "../../parts/time-ago.tsx";
import { syncWords, wordOf } from "../../words.ts";
import { Issues } from "./issues.tsx";

/** Where issues come from, and the issues. */
export function TrackersView() {
  const list = useResource(
    "trackers",
    async () => (await trackers.listTrackers({ pageSize: 100 })).trackers,
    {
      everyMs: 10_000,
      when: topics.runs,
    },
  );
  return (
    <>
      <div class="page-head">
        <h1>Trackers</h1>
        <div class="actions">{isOperator.value && <AddTracker onDone={() => list.refresh()} />}</div>
      </div>
      <ReadingView of={list}>
        {(found) =>
          found.length === 0 ? (
            <Empty icon="trackers" title="No tracker yet">
              <p>
                A tracker is a source of issues, such as a GitHub repository. Heartbeat passes keep its issues
                in step.
              </p>
              <Command text="npx drover trackers create OWNER/NAME" />
            </Empty>
          ) : (
            <>
              <ul class="groups tracker-list">
                {found.map((tracker) => (
                  <TrackerRow key={tracker.id} tracker={tracker} onDone={() => list.refresh()} />
                ))}
              </ul>
              <Issues />
            </>
          )
        }
      </ReadingView>
    </>
  );
}

function AddTracker({ onDone }: { onDone: () => void }) {
  return (
    <Action
      label="Add a tracker"
      question="Add a GitHub repository"
      cancel="Cancel"
      onDone={onDone}
      run={async (form) => {
        const text = (name: string): string => String(form.get(name) ?? "").trim();
        const repository = text("repository");
        await trackers.createTracker({
          kind: TrackerKind.GITHUB,
          repository,
          baseUrl: text("base-url"),
          ...(text("label") !== "" && { rule: { label: text("label"), taskKind: text("task-kind") } }),
        });
        return `${repository} is read at the next pass.`;
      }}
    >
      <label class="field">
        <span>Repository</span>
        <input name="repository" required placeholder="owner/name" autoComplete="off" spellcheck={false} />
      </label>
      <label class="field">
        <span>Address of the API; empty: GitHub's own</span>
        <input name="base-url" type="url" autoComplete="off" placeholder="https://git.example.com/api/v3" />
      </label>
      <div class="field-row">
        <label class="field">
          <span>Label that makes a task</span>
          <input name="label" autoComplete="off" placeholder="none" />
        </label>
        <label class="field">
          <span>Kind of that task</span>
          <input name="task-kind" autoComplete="off" spellcheck={false} placeholder="triage" />
        </label>
      </div>
    </Action>
  );
}

function TrackerRow({ tracker, onDone }: { tracker: Tracker; onDone: () => void }) {
  return (
    <li class="group tracker">
      <b>{tracker.repository}</b>
      <Badge word={wordOf(syncWords, tracker.syncState)} />
      {tracker.disabled && <Tag tone="quiet">disabled</Tag>}
      <span class="faint">{tracker.syncDetail}</span>
      {tracker.rule !== undefined && (
        <span class="faint">
          issues labelled <b>{tracker.rule.label}</b> become tasks of kind <b>{tracker.rule.taskKind}</b>
        </span>
      )}
      <span class="faint right number">
        synced <TimeAgo time={tracker.syncedAt} />
      </span>
      {isOperator.value && <Pause tracker={tracker} onDone={onDone} />}
      {isOperator.value && (
        <Action
          label="Remove"
          danger
          question={`Remove ${tracker.repository}?`}
          onDone={onDone}
          run={async () => {
            await trackers.deleteTracker({ tracker: tracker.id });
            return `${tracker.repository} was removed.`;
          }}
        >
          <p>
            It is not read any more, and its issues are forgotten here. Nothing changes at the tracker itself.
          </p>
        </Action>
      )}
    </li>
  );
}

function Pause({ tracker, onDone }: { tracker: Tracker; onDone: () => void }) {
  const { id, repository, disabled } = tracker;
  return (
    <Action
      label={disabled ? "Enable" : "Disable"}
      question={disabled ? `Read ${repository} again?` : `Leave ${repository} out?`}
      onDone={onDone}
      run={async () => {
        await trackers.updateTracker({ tracker: id, disabled: !disabled });
        return disabled ? `${repository} is read at the next pass.` : `Passes leave ${repository} out.`;
      }}
    >
      <p>
        {disabled
          ? "The next pass reads it, from where the last one ended."
          : "Passes leave it out until it is enabled again. Its issues stay as they are."}
      </p>
    </Action>
  );
}
