import { count } from "../../format.ts";
import type { AgentRow } from "../../live/agent-row.ts";
import { refine } from "../../router.ts";
import { livenessWords, statusWords, type Word } from "../../words.ts";
import { conditions } from "./conditions.ts";
import type { FleetFilter } from "./filter-agents.ts";

const shownWords = (words: Record<number, Word>): Word[] =>
  Object.values(words).filter(({ key }) => key !== "unknown");
const livenesses = shownWords(livenessWords);
const statuses = shownWords(statusWords);

/** How many agents are what; each count filters the list by itself. */
export function FleetSummary({ rows, filter }: { rows: readonly AgentRow[]; filter: FleetFilter }) {
  const counts = new Map<string, number>();
  const add = (key: string) => counts.set(key, (counts.get(key) ?? 0) + 1);
  for (const row of rows) {
    add(`liveness ${row.liveness.key}`);
    add(`status ${row.status.key}`);
    for (const { key, holds } of conditions) if (holds(row.agent)) add(`only ${key}`);
  }
  const of = (group: string, key: string): number => counts.get(`${group} ${key}`) ?? 0;
  return (
    <section class="summary" aria-label="Counts">
      <div class="total">
        <strong>{count(rows.length)}</strong>
        <span>{rows.length === 1 ? "agent" : "agents"}</span>
      </div>
      <Group name="Liveness" parameter="liveness" chosen={filter.livenesses} words={livenesses} of={of} />
      <Group name="Status" parameter="status" chosen={filter.statuses} words={statuses} of={of} />
      <Group
        name="Conditions"
        parameter="only"
        chosen={filter.conditions}
        words={conditions
          .filter(({ key }) => of("only", key) > 0 || filter.conditions.has(key) || key === "failing")
          .map(({ key, label, explains }) => ({ key, label, tone: "warn", title: explains }))}
        of={of}
      />
    </section>
  );
}

interface GroupProps {
  readonly name: string;
  readonly parameter: string;
  readonly chosen: ReadonlySet<string>;
  readonly words: readonly (Word & { title?: string })[];
  readonly of: (group: string, key: string) => number;
}

function Group({ name, parameter, chosen, words, of }: GroupProps) {
  const toggle = (key: string) => {
    const next = new Set(chosen);
    if (!next.delete(key)) next.add(key);
    refine({ [parameter]: [...next].join(",") });
  };
  return (
    <fieldset class="count-group">
      <legend>{name}</legend>
      {words.map(({ key, label, tone, title }) => {
        const number = of(parameter, key);
        return (
          <button
            key={key}
            type="button"
            class="count"
            aria-pressed={chosen.has(key)}
            data-tone={number > 0 ? tone : "none"}
            {...(title !== undefined && { title })}
            onClick={() => toggle(key)}
          >
            <i class="dot" aria-hidden="true" data-shape={key} />
            <b>{count(number)}</b>
            <span>{label}</span>
          </button>
        );
      })}
    </fieldset>
  );
}
