import type { AgentEvent, WorkTask } from "../../agent-sdk/agent-client.ts";
import { note, printJson } from "../output.ts";
import { escapeForTerminal, fitText } from "../terminal-text.ts";
import { wordsOfEvent } from "./event-words.ts";

// Where nobody watches a line change, a task's progress is worth a line now and then.
const LINE_EVERY_MS = 5000;

/** Tells people, or with `json` a program, what an agent does. */
export class AgentDisplay {
  readonly #json: boolean;
  readonly #terminal: NodeJS.WriteStream | undefined;
  readonly #progress = new Map<string, string>();
  readonly #toldAtMs = new Map<string, number>();
  #hasStatusLine = false;

  constructor(json: boolean) {
    this.#json = json;
    this.#terminal = !json && process.stderr.isTTY ? process.stderr : undefined;
  }

  /** One event: a line, or a new status line at the terminal's bottom. */
  show(event: AgentEvent): void {
    if (this.#json) {
      printJson(JSON.stringify(event, jsonValue));
      return;
    }
    if (event.kind === "taskProgress") this.#showProgress(event.task, event.progress, event.detail);
    else {
      if ("task" in event) this.#forget(event);
      const text = wordsOfEvent(event);
      if (text !== undefined) this.line(text);
    }
  }

  /** A line of its own, above the status line. */
  line(text: string): void {
    this.#clearStatusLine();
    note(text);
    this.#drawStatusLine();
  }

  /** Leaves the terminal tidy. */
  end(): void {
    this.#clearStatusLine();
    this.#progress.clear();
  }

  #showProgress(task: WorkTask, progress: number, detail: string | undefined): void {
    const text = `${shortId(task.id)} ${Math.floor(progress * 100)} %${detail === undefined ? "" : ` ${detail}`}`;
    if (this.#terminal !== undefined) {
      this.#progress.set(task.id, text);
      this.#clearStatusLine();
      this.#drawStatusLine();
      return;
    }
    const now = performance.now();
    if (progress < 1 && now - (this.#toldAtMs.get(task.id) ?? Number.NEGATIVE_INFINITY) < LINE_EVERY_MS)
      return;
    this.#toldAtMs.set(task.id, now);
    note(text);
  }

  #forget({ kind, task }: Extract<AgentEvent, { task: WorkTask }>): void {
    if (kind === "taskBegan" || kind === "taskStopping") return;
    this.#progress.delete(task.id);
    this.#toldAtMs.delete(task.id);
  }

  #clearStatusLine(): void {
    if (this.#hasStatusLine) this.#terminal?.write("\r\u001b[2K");
    this.#hasStatusLine = false;
  }

  #drawStatusLine(): void {
    const all = [...this.#progress.values()].join(" | ");
    if (this.#terminal === undefined || all === "") return;
    this.#terminal.write(fitText(escapeForTerminal(all), (this.#terminal.columns ?? 80) - 1));
    this.#hasStatusLine = true;
  }
}

function shortId(id: string): string {
  return `…${id.slice(-8)}`;
}

/** Errors say nothing to JSON.stringify by themselves, and it knows no bigint. */
function jsonValue(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  if (value instanceof Error) return { ...value, message: value.message };
  return value;
}
