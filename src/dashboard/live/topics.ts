/** Signs that something changed, for views that read it again: a number for each kind of thing. */
import { signal } from "@preact/signals";

export const topics = {
  agents: signal(0),
  tasks: signal(0),
  errors: signal(0),
  tokens: signal(0),
  runs: signal(0),
  /** Anything at all. */
  any: signal(0),
} as const;

export type Topic = keyof typeof topics;

export function stir(topic: Topic): void {
  topics[topic].value += 1;
  if (topic !== "any") topics.any.value += 1;
}
