import type { Word } from "../words.ts";

/** A state as a dot of its tone and its word. */
export function Badge({ word, title }: { word: Word; title?: string }) {
  return (
    <span class="badge" data-tone={word.tone} {...(title !== undefined && { title })}>
      <i class="dot" aria-hidden="true" data-shape={word.key} />
      {word.label}
    </span>
  );
}

/** A word on a tinted ground, for what should be seen in passing. */
export function Tag({ tone, children, title }: { tone: Word["tone"]; children: string; title?: string }) {
  return (
    <span class="tag" data-tone={tone} {...(title !== undefined && { title })}>
      {children}
    </span>
  );
}

/** Labels of an agent, a task or a token, as key=value. */
export function Labels({ labels }: { labels: Readonly<Record<string, string>> }) {
  const entries = Object.entries(labels).sort(([a], [b]) => a.localeCompare(b));
  if (entries.length === 0) return <span class="faint">none</span>;
  return (
    <span class="labels">
      {entries.map(([key, value]) => (
        <code key={key} class="label">
          {value === "" ? key : `${key}=${value}`}
        </code>
      ))}
    </span>
  );
}
