import { readFileSync } from "node:fs";
import { findPackageJSON } from "node:module";
import { Command } from "commander";
import { endOnBrokenPipe } from "./broken-pipe.ts";
import { addAgent } from "./commands/agent.ts";
import { addAgents } from "./commands/agents.ts";
import { addAudit } from "./commands/audit.ts";
import { addCompletion } from "./commands/completion.ts";
import { addDb } from "./commands/db.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addEnroll } from "./commands/enroll.ts";
import { addErrors } from "./commands/errors.ts";
import { addExplain } from "./commands/explain.ts";
import { addPass } from "./commands/pass.ts";
import { addProjects } from "./commands/projects.ts";
import { addRuns } from "./commands/runs.ts";
import { addServe } from "./commands/serve.ts";
import { addTasks } from "./commands/tasks.ts";
import { addTokens } from "./commands/tokens.ts";
import { addTrackers } from "./commands/trackers.ts";
import { addWatch } from "./commands/watch.ts";
import { exitCodeMeanings } from "./exit-codes.ts";
import { reportFailure } from "./report-failure.ts";

/** Runs one command; `argv` is the process's own, and its exit code is set from what came of it. */
export async function main(argv: readonly string[]): Promise<void> {
  endOnBrokenPipe();
  try {
    await drover().parseAsync(argv);
  } catch (error) {
    // Read from the words, since a command line that was refused has no parsed flags.
    const words = argv.slice(2);
    const flags = words.includes("--") ? words.slice(0, words.indexOf("--")) : words;
    process.exitCode = reportFailure(error, flags.includes("--json"));
  }
}

function drover(): Command {
  const program = new Command("drover")
    .description("A control plane for fleets of agents.")
    .version(version())
    .exitOverride()
    // Errors are told in one place, with the exit code that belongs to them.
    .configureOutput({ outputError: () => undefined })
    .addHelpText("after", exitCodesHelp());
  addServe(program);
  addDb(program);
  addDoctor(program);
  addEnroll(program);
  addAgent(program);
  addAgents(program);
  addTasks(program);
  addExplain(program);
  addErrors(program);
  addPass(program);
  addRuns(program);
  addTrackers(program);
  addWatch(program);
  addAudit(program);
  addTokens(program);
  addProjects(program);
  addCompletion(program);
  return program;
}

function exitCodesHelp(): string {
  const lines = exitCodeMeanings.map(([code, meaning]) => `  ${code}  ${meaning}`);
  return ["", "Exit codes:", ...lines].join("\n");
}

function version(): string {
  const path = findPackageJSON(import.meta.url);
  // package.json is the project's own and holds a version.
  return path === undefined
    ? "unknown"
    : (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version;
}
