import type { Command } from "commander";
import { surviveBrokenPipe } from "../broken-pipe.ts";
import { serverCommand } from "../server-command.ts";

export function addServe(program: Command): void {
  serverCommand(program.command("serve"), {
    name: "drover serve",
    description: "run the control plane until it is told to stop",
    takes: () => true,
    run: (entry, values) => {
      surviveBrokenPipe();
      return entry.serve(values);
    },
  });
}
