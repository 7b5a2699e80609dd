/**
 * A process that runs an embedded PostgreSQL as a Drover server does. It prints one JSON line for each thing that
 * happens, and stops at SIGTERM; arguments: the data directory, and settings as name=value.
 */
import { EmbeddedPostgres } from "../../src/storage/embedded-postgres.ts";

const [dataDir = "", ...settings] = process.argv.slice(2);
const tell = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
const log = (level: string) => (fields: object, message: string) => {
  const { err, ...rest } = { err: undefined, ...fields };
  tell({ level, message, ...rest, ...(err !== undefined && { err: String(err) }) });
};

const postgres = new EmbeddedPostgres({
  dataDir,
  logger: { info: log("info"), warn: log("warn"), error: log("error") },
  settings: Object.fromEntries(settings.map((each) => each.split("="))),
});

process.once("SIGTERM", () => {
  void postgres.stop().then(() => tell({ stopped: true }));
});
// An exit that forgets to stop.
process.once("SIGUSR2", () => process.exit(7));

try {
  await postgres.start();
  tell({ url: postgres.connection.url });
} catch (error) {
  tell({ failed: error instanceof Error ? error.message : String(error) });
  process.exitCode = 1;
}
