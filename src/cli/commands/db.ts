import type { Command } from "commander";
import { note, printJson } from "../output.ts";
import { isStorageSetting, serverCommand } from "../server-command.ts";

export function addDb(program: Command): void {
  const group = program.command("db").description("look after the server's database, on its machine");
  serverCommand(group.command("migrate"), {
    name: "drover db migrate",
    description: "bring the database's schema up to date, as every start of the server does",
    takes: isStorageSetting,
    flags: (full) => full.option("--json", "print that it is done as JSON"),
    run: async (entry, values, full) => {
      await entry.migrate(values);
      if (full.opts<{ json?: true }>().json === true) printJson(JSON.stringify({ upToDate: true }));
      else note("The database's schema is up to date.");
    },
  });
}
