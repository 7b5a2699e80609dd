import type { AgentEvent } from "../../agent-sdk/agent-client.ts";
import { clauseOf } from "../clause.ts";

type LineEvent = Exclude<AgentEvent, { kind: "taskProgress" }>;

/** What happened, as a line for people; undefined where it is not worth one. */
export function wordsOfEvent(event: LineEvent): string | undefined {
  switch (event.kind) {
    case "state":
      return wordsOfState(event.state);
    case "notice":
      return event.text;
    case "shutDown":
      return `The server asks this agent to end${event.why === "" ? "" : `: ${event.why}`}. It takes no more tasks, and leaves when what is under way has come to its end.`;
    case "taskBegan":
      return `${event.task.id} begins: ${event.task.kind}, attempt ${event.task.attempt}.`;
    case "taskStopping":
      return `${event.task.id} is stopped: ${event.why.message}`;
    case "taskEnded":
      return event.outcome.kind === "complete"
        ? `${event.task.id} succeeded.`
        : `${event.task.id} failed: ${event.outcome.message}`;
    case "taskRefused":
      return `${event.task.id}: its result does not count: ${event.message}${event.reason === "" ? "" : ` (${event.reason})`}`;
    case "taskDropped":
      return `${event.task.id} was given up.`;
  }
}

type State = Extract<AgentEvent, { kind: "state" }>["state"];

function wordsOfWait({ because, server, delayMs }: Extract<State, { kind: "waiting" }>): string {
  const next = `${server} in ${(delayMs / 1000).toFixed(1)} s.`;
  // Why it was sent away was said when it was.
  if (because.reason === "SENT_AWAY") return `Going on at ${next}`;
  return `Not connected: ${clauseOf(because.message)} Trying ${next}`;
}

function wordsOfState(state: State): string | undefined {
  switch (state.kind) {
    case "live":
      return `Connected to ${state.server}; a heartbeat every ${state.intervalMs / 1000} s.`;
    case "waiting":
      return wordsOfWait(state);
    case "moving":
      return `${state.elsewhere ? "Leaving" : "Connecting anew to"} ${state.server}: ${clauseOf(state.why)}`;
    case "connecting":
    case "ended":
      return undefined;
  }
}
