import { TaskFailedError, type TaskHandler, WorkStopped } from "../../agent-sdk/agent-client.ts";
import { readStderrLine, resultOf } from "./command-output.ts";
import type { GroupGuard } from "./group-guard.ts";
import { runShellCommand } from "./shell-command.ts";

/** How long a command that is told to stop may take before it is killed. */
export const KILL_AFTER_MS = 10_000;

export interface CommandHandlerOptions {
  readonly command: string;
  readonly guard: GroupGuard;
  /** Hears what the command says on standard error besides progress. */
  readonly onText: (taskId: string, line: string) => void;
}

/** Does tasks by running a command: the payload goes in by standard input, the result comes by standard output. */
export function commandHandler({ command, guard, onText }: CommandHandlerOptions): TaskHandler {
  return async (task, { signal, progress, leaseRemainingMs }) => {
    const end = await runShellCommand({
      command,
      input: JSON.stringify(task.payload),
      env: { ...ownEnvironment(), DROVER_TASK_ID: task.id, DROVER_ATTEMPT: String(task.attempt) },
      signal,
      // Past the lease's end another agent may have the task, so nothing of this one may run then.
      graceMs: () => {
        const isLate = signal.reason instanceof WorkStopped && signal.reason.reason === "lease-lost";
        return isLate ? Math.max(0, Math.min(KILL_AFTER_MS, leaseRemainingMs())) : KILL_AFTER_MS;
      },
      onLine: (line) => {
        const read = readStderrLine(line);
        if (read.kind === "progress") progress(read.progress, read.detail);
        else onText(task.id, read.text);
        return read.kind === "progress";
      },
      guard,
    });
    if (end.exitCode === 0) return resultOf(end.stdout);
    signal.throwIfAborted();
    const how =
      end.exitCode === undefined ? `was ended by ${end.signal}` : `ended with exit code ${end.exitCode}`;
    const said = end.stderr.text().trim();
    throw new TaskFailedError(said === "" ? `The command ${how}.` : `The command ${how}: ${said}`, {
      context: end.exitCode === undefined ? { signal: end.signal ?? "" } : { exitCode: end.exitCode },
    });
  };
}

/** The environment of the agent, without the token that enrolls agents: commands have no business with it. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const { DROVER_TOKEN: _, ...rest } = process.env;
  return rest;
}
