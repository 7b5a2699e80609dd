import { CommanderError } from "commander";
import { ExitCode } from "./exit-codes.ts";
import { Failure, usageFailure } from "./failure.ts";
import { note } from "./output.ts";
import { escapeJsonForTerminal } from "./terminal-text.ts";

/** Tells standard error why a command ended, in words or as Status JSON; returns the exit code. */
export function reportFailure(error: unknown, json: boolean): number {
  // Help and version come as errors too, already printed.
  if (error instanceof CommanderError && error.exitCode === 0) return ExitCode.ok;
  if (error instanceof CommanderError && error.code === "commander.help") return ExitCode.usage;
  const failure = failureOf(error);
  if (json) printStatus(failure);
  else for (const line of failureLines(failure)) note(line);
  return failure.exitCode;
}

function failureOf(error: unknown): Failure {
  if (error instanceof Failure) return error;
  if (error instanceof CommanderError) return usageFailure(error.message.replace(/^error: /, ""));
  const message = error instanceof Error ? error.message : String(error);
  return new Failure("UNKNOWN", message, { kind: "local" }, error);
}

/** The lines that explain a failure to a person. */
export function failureLines(failure: Failure): string[] {
  const { origin } = failure;
  const violations = origin.kind === "server" ? origin.violations : [];
  const reason = origin.kind === "server" && origin.reason !== undefined ? ` (${origin.reason})` : "";
  // What the lines below say with their fields is not said twice.
  const repeats = violations.some(({ description }) => failure.message.includes(description));
  const headline = repeats ? "The server refuses the request:" : failure.message;
  const hint = failure.hint ?? "";
  const first = `error: ${headline}${reason}`;
  if (violations.length === 0) return `${first} ${hint}`.trimEnd().split("\n");
  const told = violations.map(({ field, description }) => `  ${field}: ${description}`);
  return [first, ...told, ...(hint === "" ? [] : [hint])];
}

function printStatus(failure: Failure): void {
  const body = failure.origin.kind === "server" ? failure.origin.body : undefined;
  const text = body?.trim() ?? statusJson(failure);
  process.stderr.write(`${process.stderr.isTTY ? escapeJsonForTerminal(text) : text}\n`);
}

const httpCodes: Readonly<Record<number, number>> = {
  [ExitCode.usage]: 400,
  [ExitCode.denied]: 401,
  [ExitCode.notFound]: 404,
  [ExitCode.conflict]: 409,
  [ExitCode.unreachable]: 503,
  [ExitCode.exhausted]: 429,
};

/** Failures that no server told look as if one had, so that a script reads one shape. */
function statusJson(failure: Failure): string {
  const code =
    failure.origin.kind === "server" ? failure.origin.httpStatus : (httpCodes[failure.exitCode] ?? 500);
  const message = failure.hint === undefined ? failure.message : `${failure.message} ${failure.hint}`;
  return JSON.stringify({ error: { code, status: failure.status, message, details: [] } });
}
