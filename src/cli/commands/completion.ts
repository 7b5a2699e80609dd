import { Argument, type Command } from "commander";
import { placesOf } from "../completion/command-tree.ts";
import { completionScript, type Shell, shells } from "../completion/scripts.ts";

export function addCompletion(program: Command): void {
  program
    .command("completion")
    .description("print a script that completes commands and flags in a shell")
    .addArgument(new Argument("<shell>", "which shell").choices(shells))
    .addHelpText("after", '\nFor bash, in ~/.bashrc: eval "$(drover completion bash)"')
    .action(async (shell: Shell) => {
      // Not by the functions that print to people: a script keeps every character.
      process.stdout.write(completionScript(shell, await placesOf(program)));
    });
}
