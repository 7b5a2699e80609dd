import { type Command, Option } from "commander";
import { newRequestId } from "../api.ts";
import { repeatedOf, taskPath } from "../arguments.ts";
import { orDash } from "../cell-text.ts";
import { changeByFilter, isByFilter } from "../change-by-filter.ts";
import { apiFor, type ClientFlags, withClientFlags } from "../client-command.ts";
import { printJson, printLine } from "../output.ts";
import type { TaskJson } from "../resources.ts";
import { type TaskFilterFlags, taskFilterOf, withTaskFilter } from "./task-filter.ts";

/** What can be done to a task, and to all that a filter finds. */
interface TaskChange {
  readonly verb: "cancel" | "retry";
  readonly description: string;
  /** Where it says so: "kept with the task". */
  readonly reason: string;
  /** States from which it is done, and those that are meant where none is named. */
  readonly states: readonly string[];
  readonly byDefault: readonly string[];
  readonly path: string;
  readonly question: string;
}

const open = ["pending", "leased", "running", "quarantined"];
const cancel: TaskChange = {
  verb: "cancel",
  description: "cancel a task, or all that a filter finds; an agent that works on one is told to stop",
  reason: "why; kept with the task",
  states: open,
  byDefault: open,
  path: "/api/v1/tasks:batchCancel",
  question: "Cancel",
};
const retry: TaskChange = {
  verb: "retry",
  description: "try a task anew that failed, was cancelled or set aside, or all that a filter finds",
  reason: "why; kept in the audit log",
  states: ["failed", "quarantined", "cancelled"],
  byDefault: ["failed", "quarantined"],
  path: "/api/v1/tasks:batchRetry",
  question: "Retry",
};

export function addTaskChanges(group: Command): void {
  for (const change of [cancel, retry]) {
    const { verb, description, reason, states, byDefault } = change;
    const others = byDefault.length === states.length ? "" : `; when left out: ${byDefault.join(", ")}`;
    const command = group
      .command(verb)
      .description(description)
      .argument("[id]", "one task; or a filter instead")
      .option(
        "--state <state>",
        `only in this state; may be repeated: ${states.join(", ")}${others}`,
        repeatedOf(states),
      );
    withClientFlags(
      withTaskFilter(command)
        .addOption(new Option("--all", "all there are").conflicts(["state", "kind", "agent", "label"]))
        .option("--yes", "do not ask before a filter's tasks are changed")
        .option("--reason <words>", reason),
    ).action((id: string | undefined, flags: ChangeFlags) => changeTasks(change, id, flags));
  }
}

interface ChangeFlags extends ClientFlags, TaskFilterFlags {
  state?: string[];
  all?: true;
  yes?: true;
  reason?: string;
}

async function changeTasks(change: TaskChange, id: string | undefined, flags: ChangeFlags): Promise<void> {
  const { state, kind, agent, label, all, reason } = flags;
  const byFilter = isByFilter(id, [state, kind, agent, label, all], "a task's id");
  if (byFilter || id === undefined) {
    const filter = taskFilterOf(flags);
    await changeByFilter<TaskJson>(apiFor(flags), flags, {
      plural: "tasks",
      singular: "task",
      list: "/api/v1/tasks",
      query: { ...filter, state: state ?? change.byDefault },
      path: change.path,
      body: { ...filter, state, all, reason },
      verb: change.question,
      stateOf: (task) => orDash(task.state),
    });
    return;
  }
  const body = { reason, requestId: newRequestId() };
  const { text, value } = await apiFor(flags).post<TaskJson>(`${taskPath(id)}:${change.verb}`, body);
  if (flags.json === true) printJson(text);
  else printLine(`${value.id ?? id} is ${orDash(value.state)}.`);
}
