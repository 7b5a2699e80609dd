import type { ServerProcess } from "./server-process.ts";
import { waitFor } from "./wait-for.ts";

/** Lines of a server's log with these values, once there are at least so many; a pipe brings them after the answer. */
export async function logLines(
  server: Pick<ServerProcess, "log">,
  values: Record<string, unknown>,
  atLeast: number,
): Promise<Record<string, unknown>[]> {
  const find = () =>
    server.log().filter((line) => Object.entries(values).every(([key, value]) => line[key] === value));
  const what = `${atLeast} lines with ${JSON.stringify(values)} in the log`;
  await waitFor(() => find().length >= atLeast, { what });
  return find();
}
