import { Command, CommanderError } from "commander";

/** A noun with verbs; without a verb it lists. A verb that does not exist is refused with the nearest one that does. */
export function commandGroup(program: Command, noun: string, description: string): Command {
  const group = program.command(noun).description(description);
  // The verb `list` is the default, so commander would hand a mistyped verb to it as an argument.
  group.hook("preSubcommand", () => {
    const [word] = group.args;
    if (word === undefined || word.startsWith("-")) return;
    const verbs = group.commands.flatMap((command) => [command.name(), ...command.aliases()]);
    if (!verbs.includes(word)) throw unknownVerb(noun, verbs, word);
  });
  return group;
}

/** The error that commander itself would give, with its suggestion, were there no default. */
function unknownVerb(noun: string, verbs: readonly string[], word: string): CommanderError {
  const probe = new Command(noun).exitOverride().configureOutput({ outputError: () => undefined });
  for (const verb of verbs) probe.command(verb);
  try {
    probe.parse([word], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error;
    throw error;
  }
  return new CommanderError(1, "commander.unknownCommand", `error: unknown command '${word}'`);
}
