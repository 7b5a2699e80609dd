import type { Command } from "commander";
import { surviveBrokenPipe } from "../broken-pipe.ts";
import { printJson } from "../output.ts";
import { serverCommand } from "../server-command.ts";

export function addServe(program: Command): void {
  serverCommand(program.command("serve"), {
    name: "drover serve",
    description: "run the control plane until it is told to stop",
    takes: () => true,
    flags: (full) => full.option("--json", "print the addresses as one line of JSON"),
    run: (entry, values, full) => {
      surviveBrokenPipe();
      const json = full.opts<{ json?: true }>().json === true;
      return entry.serve(values, json ? printJson : undefined);
    },
  });
}
