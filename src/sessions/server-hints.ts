import { z } from "zod";
import type { DueTasks } from "../tasks/requirement-store.ts";

const hintSchema = z.discriminatedUnion("about", [
  z.object({ about: z.literal("command"), agentId: z.string() }),
  z.object({ about: z.literal("recovery"), agentId: z.string() }),
  z.object({
    about: z.literal("tasks"),
    projectId: z.string(),
    kind: z.string().optional(),
    requirements: z.object({
      capabilities: z.array(z.string()),
      labels: z.record(z.string(), z.string()),
    }),
  }),
]);

/**
 * What a server tells the others of what it can do nothing with: a command for an agent without a stream here, an agent
 * that may take tasks again, tasks for which nobody waits here.
 */
export type ServerHint = z.infer<typeof hintSchema>;

/** The hint as one line of text. */
export const writeHint = (hint: ServerHint): string => JSON.stringify(hint);

export const hintOfTasks = ({ projectId, kind, requirements }: DueTasks): ServerHint => ({
  about: "tasks",
  projectId,
  ...(kind !== undefined && { kind }),
  requirements: { capabilities: [...requirements.capabilities], labels: { ...requirements.labels } },
});

/** The hint that a line of text is; undefined where a server of another version says what this one does not know. */
export function readHint(text: string): ServerHint | undefined {
  try {
    return hintSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
