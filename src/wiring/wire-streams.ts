import { CommandService } from "../commands/command-service.ts";
import type { ReportProblem } from "../doors/door.ts";
import { sessionSuperseded } from "../heartbeat/enter-session.ts";
import { findSuccessors } from "../heartbeat/heartbeat-store.ts";
import { assertNever } from "../runtime/assert-never.ts";
import { Assigner } from "../sessions/assigner.ts";
import { type CommandSource, createCommandSource } from "../sessions/command-source.ts";
import { hintOfTasks, readHint, type ServerHint, writeHint } from "../sessions/server-hints.ts";
import { SessionRegistry } from "../sessions/session-registry.ts";
import { SlotCount } from "../sessions/slot-count.ts";
import { StreamRecord } from "../sessions/stream-record.ts";
import { createTaskSource, type TaskSource } from "../sessions/task-source.ts";
import type { Database } from "../storage/database.ts";
import { Notifications } from "../storage/notifications.ts";
import type { WaitingClaims } from "../tasks/waiting-claims.ts";
import { OpenStreams } from "../tokens/open-streams.ts";
import { claimSources, type Tasks } from "./wire-tasks.ts";

/** What looks after streams for as long as they are open. */
export interface Streams {
  open: OpenStreams;
  tasks: TaskSource;
  assigner: Assigner;
  commands: CommandSource;
  registry: SessionRegistry;
  slots: SlotCount;
  /** To and from the other servers of the database. */
  notifications: Notifications;
  report: ReportProblem;
}

/** What serves agents' streams, here and together with the other servers of the database. */
export function createStreams(database: Database, tasks: Tasks, report: ReportProblem): Streams {
  const { db } = database;
  const open = new OpenStreams(db, (error) =>
    report("the tokens of open streams were not looked at; it is tried again", error),
  );
  const source = createTaskSource(tasks.claims, tasks.loans, claimSources(db));
  const assigner = new Assigner(source, (error) => report("a claim for a stream failed", error));
  const commands = createCommandSource(new CommandService(db));
  const slots = new SlotCount((agentId) => registry.roomOf(agentId));
  const registry: SessionRegistry = new SessionRegistry({
    assigner,
    commands,
    findSuccessors: (sessions) => findSuccessors(db, sessions),
    record: new StreamRecord(db),
    superseded: sessionSuperseded,
    elsewhere: (hint) => notifications.say(writeHint(hint)),
    onError: report,
  });
  const notifications = new Notifications(database, {
    heard: (text) => takeHint(readHint(text), registry, tasks.waiting),
    onError: (error) =>
      report("other servers are not heard, or do not hear this one; it is tried again", error),
  });
  tasks.waiting.listen({
    due: ({ projectId, kind, requirements }) => assigner.wake(projectId, kind, requirements),
    unwanted: (due) => notifications.say(writeHint(hintOfTasks(due))),
    // The agent that held it has a command to stop the work.
    changed({ type, agentId }) {
      if (type === "task.cancelled" && agentId !== undefined) registry.commandWaits(agentId);
    },
  });
  return { open, tasks: source, assigner, commands, registry, slots, notifications, report };
}

/** What another server could do nothing with; the same would be found here a second later. */
function takeHint(hint: ServerHint | undefined, registry: SessionRegistry, waiting: WaitingClaims): void {
  switch (hint?.about) {
    case undefined:
      return;
    case "command":
      registry.commandWaitsHere(hint.agentId);
      return;
    case "recovery":
      registry.recoveredHere(hint.agentId);
      return;
    case "tasks":
      waiting.dueElsewhere({ ...hint, kind: hint.kind });
      return;
    default:
      assertNever(hint);
  }
}
