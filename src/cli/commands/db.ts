import type { Command } from "commander";
import { note } from "../output.ts";
import { isStorageSetting, serverCommand } from "../server-command.ts";

export function addDb(program: Command): void {
  const group = program.command("db").description("look after the server's database, on its machine");
  serverCommand(group.command("migrate"), {
    name: "drover db migrate",
    description: "bring the database's schema up to date, as every start of the server does",
    takes: isStorageSetting,
    run: async (entry, values) => {
      await entry.migrate(values);
      note("The database's schema is up to date.");
    },
  });
}
