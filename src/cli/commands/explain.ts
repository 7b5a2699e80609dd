import type { Command } from "commander";
import { agentPath, taskPath } from "../arguments.ts";
import { apiFor, type ClientFlags, withClientFlags } from "../client-command.ts";
import { printJson, printLine } from "../output.ts";
import type { ExplanationJson } from "../resources.ts";

export function addExplain(program: Command): void {
  withClientFlags(
    program
      .command("explain")
      .description("say in words why a task waits, or why an agent idles")
      .argument("<task or agent>", "a task's id, or an agent's name"),
  ).action(explain);
}

async function explain(subject: string, flags: ClientFlags): Promise<void> {
  const path = subject.startsWith("task_") ? taskPath(subject) : agentPath(subject);
  const { text, value } = await apiFor(flags).get<ExplanationJson>(`${path}:explain`);
  if (flags.json === true) {
    printJson(text);
    return;
  }
  const { summary = "", reasons = [] } = value;
  printLine(summary);
  for (const { message = "" } of reasons) if (message !== summary) printLine(`- ${message}`);
}
