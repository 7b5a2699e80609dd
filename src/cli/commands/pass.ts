import type { Command } from "commander";
import { passPath } from "../arguments.ts";
import { orDash } from "../cell-text.ts";
import { apiFor, type ClientFlags, withClientFlags } from "../client-command.ts";
import { note, printJson, printLine } from "../output.ts";
import type { PassJson } from "../resources.ts";

/** A pass fetches issues for 50 s at most, unless the server is told otherwise. */
const TIMEOUT = [120_000, "2m"] as const;

export function addPass(program: Command): void {
  // No group of verbs like the others: what follows may be an agent's name.
  const group = program.command("pass").description("have a heartbeat pass run");
  const run = group
    .command("run", { isDefault: true })
    .description(
      "sync issues and reconcile tasks (this is what `drover pass AGENT` does); exit code 1 on errors",
    )
    .argument(
      "<agent>",
      "for whom: any name with an operator's or a runner's token, the own one with an agent's",
    );
  withClientFlags(run, TIMEOUT).action(runPass);
}

async function runPass(agent: string, flags: ClientFlags): Promise<void> {
  const { text, value } = await apiFor(flags).post<PassJson>(passPath(agent), {});
  if (value.status === "error") process.exitCode = 1;
  if (flags.json === true) {
    printJson(text);
    return;
  }
  for (const error of value.errors ?? []) note(`error: ${error}`);
  for (const warning of value.warnings ?? []) note(`warning: ${warning}`);
  for (const url of value.touchedIssueUrls ?? []) printLine(url);
  note(`${orDash(value.status)}: ${orDash(value.summary)} (${orDash(value.runId)})`);
}
