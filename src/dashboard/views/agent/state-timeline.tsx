import { useSignal } from "@preact/signals";
import type { Agent } from "../../../../gen/drover/v1/agent_pb.js";
import type { AuditEntry } from "../../../../gen/drover/v1/event_service_pb.js";
import { allPages } from "../../api/all-pages.ts";
import { events } from "../../api/clients.ts";
import { clockTime, exactSpan, msOf } from "../../format.ts";
import { now } from "../../live/clock.ts";
import { useResource } from "../../live/resource.ts";
import { topics } from "../../live/topics.ts";
import { Panel } from "../../parts/panel.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { cordonWords, livenessWords, numberOf, statusWords, type Word, wordOf } from "../../words.ts";
import { planTimeline, type Span } from "./plan-timeline.ts";

const windows = { "1 h": 3_600_000, "24 h": 86_400_000, "7 d": 604_800_000 } as const;
type WindowName = keyof typeof windows;
const fields: ReadonlySet<string> = new Set(["status", "liveness", "cordon"]);

/** What the agent said, what the server saw of it and whether it was given tasks, over time, from its audit entries. */
export function StateTimeline({ agent }: { agent: Agent }) {
  const chosen = useSignal<WindowName>("1 h");
  const list = useResource(
    `timeline ${agent.id}`,
    async () =>
      await allPages(
        (page) => events.listAuditEntries({ ...page, subject: agent.id, orderBy: "time desc" }),
        (page) => page.entries.filter(({ field }) => fields.has(field)),
        3,
      ),
    { everyMs: 10_000, when: topics.agents },
  );
  const choice = (
    <div class="choices" role="group" aria-label="Time shown">
      {(Object.keys(windows) as WindowName[]).map((name) => (
        <button
          key={name}
          type="button"
          aria-pressed={chosen.value === name}
          onClick={() => {
            chosen.value = name;
          }}
        >
          {name}
        </button>
      ))}
    </div>
  );
  const toMs = now.value;
  const bornMs = msOf(agent.createdAt) ?? 0;
  // A young agent's life fills the picture.
  const fromMs = Math.max(toMs - windows[chosen.value], bornMs);
  /** Nothing where it was given tasks all the time, as nearly every agent was. */
  const cordons = (entries: readonly AuditEntry[]): Span[] => {
    const spans = planTimeline(entries, "cordon", wordOf(cordonWords, agent.cordon).key, fromMs, toMs);
    return spans.some(({ value }) => value !== "none") ? spans : [];
  };
  return (
    <Panel title="State over time" side={choice}>
      <ReadingView of={list} rows={2}>
        {(entries) => (
          <>
            <Lane
              name="Status"
              words={statusWords}
              spans={planTimeline(entries, "status", wordOf(statusWords, agent.status).key, fromMs, toMs)}
              fromMs={fromMs}
              toMs={toMs}
            />
            <Lane
              name="Liveness"
              words={livenessWords}
              spans={planTimeline(
                entries,
                "liveness",
                wordOf(livenessWords, agent.liveness).key,
                fromMs,
                toMs,
              )}
              fromMs={fromMs}
              toMs={toMs}
            />
            {cordons(entries).length > 0 && (
              <Lane name="Cordon" words={cordonWords} spans={cordons(entries)} fromMs={fromMs} toMs={toMs} />
            )}
            <div class="lane-times number" aria-hidden="true">
              <span>{clockTime(fromMs)}</span>
              <span>{clockTime((fromMs + toMs) / 2)}</span>
              <span>now</span>
            </div>
          </>
        )}
      </ReadingView>
    </Panel>
  );
}

interface LaneProps<E extends number> {
  readonly name: string;
  readonly words: Record<E, Word>;
  readonly spans: readonly Span[];
  readonly fromMs: number;
  readonly toMs: number;
}

function Lane<E extends number>({ name, words, spans, fromMs, toMs }: LaneProps<E>) {
  const wordFor = (value: string): Word => {
    const number = numberOf(words, value);
    return number === undefined ? { key: value, label: value, tone: "quiet" } : wordOf(words, number);
  };
  const story = spans
    .map(({ value, fromMs: a, toMs: b }) => `${wordFor(value).label} for ${exactSpan(b - a)}`)
    .join(", then ");
  return (
    <div class="lane">
      <span class="lane-name">{name}</span>
      <div class="lane-spans" role="img" aria-label={`${name}: ${story}`}>
        {spans.map(({ value, fromMs: a, toMs: b }) => {
          const word = wordFor(value);
          const share = (b - a) / Math.max(1, toMs - fromMs);
          return (
            <i
              key={`${a}`}
              data-tone={word.tone}
              title={`${word.label}, ${clockTime(a)} to ${clockTime(b)} (${exactSpan(b - a)})`}
              style={{ flexGrow: String(Math.max(share, 0.002)) }}
            >
              {share > 0.1 ? word.label : ""}
            </i>
          );
        })}
      </div>
    </div>
  );
}
