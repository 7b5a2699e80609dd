import { Command } from "commander";
import { usageFailure } from "./failure.ts";
import { type FlagValues, loadServerEntry, type ServerEntry, type Setting } from "./server-entry.ts";

/** A command that runs on the server's own machine, with settings of the server as its flags. */
export interface ServerCommandPlan {
  /** Full name, for its help. */
  name: string;
  description: string;
  /** Which settings it takes. */
  takes: (setting: Setting) => boolean;
  /** Flags of its own. */
  flags?: (command: Command) => Command;
  run: (entry: ServerEntry, values: FlagValues, command: Command) => Promise<void>;
}

/** Makes `command` read its flags only when it is called, since the settings come with the server's whole code. */
export function serverCommand(command: Command, plan: ServerCommandPlan): void {
  plans.set(command, plan);
  command
    .description(plan.description)
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .addHelpText("after", `\nIts settings: ${plan.name} --help`)
    .action(async () => {
      const entry = await loadServerEntry();
      await fullCommand(command, plan, entry).parseAsync(command.args, { from: "user" });
    });
}

const plans = new WeakMap<Command, ServerCommandPlan>();

/** The command with all its flags where it reads them only when called; any other as it is. */
export async function withServerFlags(command: Command): Promise<Command> {
  const plan = plans.get(command);
  return plan === undefined ? command : fullCommand(command, plan, await loadServerEntry());
}

function fullCommand(outer: Command, plan: ServerCommandPlan, entry: ServerEntry): Command {
  const command = new Command(plan.name)
    .copyInheritedSettings(outer)
    .description(plan.description)
    .helpOption()
    // The outer command reads none of its words, so it lets all pass.
    .allowExcessArguments(false);
  const settings = entry.settings.filter(plan.takes);
  const flagsByKey = new Map<string, string>();
  for (const { flag, env, description, default: byDefault } of settings) {
    const option = command.createOption(
      `--${flag} <value>`,
      `${description} (${env}; default ${byDefault || "none"})`,
    );
    command.addOption(option);
    flagsByKey.set(option.attributeName(), flag);
  }
  plan.flags?.(command);
  return command.action(async () => {
    const values: FlagValues = {};
    for (const [key, value] of Object.entries(command.opts<Record<string, unknown>>())) {
      const flag = flagsByKey.get(key);
      if (flag !== undefined && typeof value === "string") values[flag] = value;
    }
    try {
      await plan.run(entry, values, command);
    } catch (error) {
      throw isBadSetting(error) ? usageFailure(error.message) : error;
    }
  });
}

/** Told by its name: its class belongs to the server's code, which is loaded for these commands alone. */
function isBadSetting(error: unknown): error is Error {
  return error instanceof Error && error.name === "SettingError";
}

/** The settings that say where the database and its files are. */
export function isStorageSetting({ flag }: Setting): boolean {
  return flag === "database-url" || flag === "data-dir";
}
