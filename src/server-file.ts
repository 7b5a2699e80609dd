import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "./observability/logger.ts";

/** Where a server is to be reached from its own machine, as base addresses. */
export interface ServerAddresses {
  readonly http: string;
  readonly grpc: string;
}

/** Tells commands on this machine, by a file beside the operator's token, where the server is: its ports may be any. */
export class ServerFile {
  readonly #path: string;
  readonly #logger: Logger;
  #text = "";

  constructor(dataDir: string, logger: Logger) {
    this.#path = join(dataDir, "server.json");
    this.#logger = logger;
  }

  async write(addresses: ServerAddresses): Promise<void> {
    // With its process, since a server that was killed leaves the file behind.
    this.#text = `${JSON.stringify({ pid: process.pid, ...addresses })}\n`;
    try {
      await writeFile(this.#path, this.#text);
    } catch (error) {
      // No folder, no operator's token in it: with DATABASE_URL a server may have neither.
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return;
      // Nothing else needs it: a server whose folder nobody may write to any more still serves.
      this.#logger.warn({ err: error }, "commands on this machine cannot be told where the server is");
    }
  }

  /** Takes back what was written, unless another server has told of itself since. */
  async remove(): Promise<void> {
    const found = await readFile(this.#path, "utf8").catch(() => undefined);
    if (found === this.#text) await rm(this.#path, { force: true }).catch(() => undefined);
  }
}
